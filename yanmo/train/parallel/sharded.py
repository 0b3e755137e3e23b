"""Checkpoints of models that no process holds whole: each rank writes and reads its own slices.

    checkpoints/step-00001000/
      model/shard-00001-…safetensors       one file a rank, by torch.distributed.checkpoint; which slice of which tensor a
      optimizer/shard-00001-…safetensors   file holds stands in its own header (no pickle, no index)
      state.json  manifest.json            as ever

They are read on any number of ranks, and so are the plain ones (`slices.py`). Like those they are whole or absent: all ranks
write into a folder under another name, the first one adds the manifest with every file's hash (each rank hashes its own) and
renames it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.core import files
from yanmo.core.errors import CorruptError, WorkError
from yanmo.core.messages import text
from yanmo.train import divided
from yanmo.train.checkpoint import FORMAT, MANIFEST, Snapshot, State, differs, state_of
from yanmo.train.parallel.ranks import Ranks
from yanmo.train.slices import MODEL, OPTIMIZER, load_optimizer, load_weights, tensors_of


def snapshot(state: State, model: nn.Module, optimizer: torch.optim.Optimizer, made_for: dict[str, Any]) -> Snapshot:
    """This rank's slices themselves: they are written before training goes on."""
    return Snapshot(asdict(state), tensors_of(model), _remembered(model, optimizer), {}, made_for)


def write(folder: Path, held: Snapshot, ranks: Ranks) -> Path:
    """Writes `folder/step-N`, all ranks together; StorageError on a full disk of any of them, older checkpoints untouched."""
    target = folder / held.name
    if ranks.first:
        with files.atomic(target) as temporary:
            temporary.mkdir()
            ranks.tell("checkpoint", str(temporary.absolute()))
            record = _slices(temporary, held, ranks)
            files.write_json(temporary / "state.json", held.state)
            record["state.json"] = _entry(temporary / "state.json")
            files.write_json(temporary / MANIFEST, {"format": FORMAT, "made_for": held.made_for, "files": record})
    else:
        _slices(Path(ranks.tell("checkpoint", "")), held, ranks)
    ranks.tell("checkpoint written", "yes")
    return target


def _slices(folder: Path, held: Snapshot, ranks: Ranks) -> dict[str, Any]:
    """The slices of every rank; the first one learns what all have written."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    for name, tensors in ((MODEL, held.model), (OPTIMIZER, held.optimizer)):
        (folder / name).mkdir(exist_ok=True)
        try:
            dcp.save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder / name), save_distributed=True))
        except dcp.api.CheckpointException as error:
            raise _failure(folder, error) from error
    own = [path for path in files.files(folder) if path.name.startswith(f"shard-{ranks.rank + 1:05d}-")]
    entries = {path.relative_to(folder).as_posix(): _entry(path) for path in own}
    found = ranks.gather("shards", json.dumps(entries))
    return dict(sorted((name, entry) for one in found for name, entry in json.loads(one).items()))


def _failure(folder: Path, error: Any) -> Exception:
    """What any rank met with while it wrote, as an error of ours."""
    for rank, (cause, _) in sorted(error.failures.items()):
        if files.error_number(cause) in files.FULL:
            return files.disk_full(folder)
        return WorkError(text("rank {rank}", rank=rank), None, f"{type(cause).__name__}: {cause}")
    return error


def _entry(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": files.sha256(path)}


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, made_for: dict[str, Any]) -> State:
    """As `checkpoint.restore`, of a model in slices."""
    fault = differs(path, model, made_for)
    if fault is not None:
        raise CorruptError(str(path), *fault)
    load_weights(path, model)
    load_optimizer(path, model, optimizer)
    return state_of(path)


def _remembered(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            value = torch.as_tensor(value).detach()
            found[f"{name}::{key}"] = value if divided.in_slices(value) else value.contiguous()
    return found
