"""Checkpoints of models that no process holds whole: each rank writes and reads its own slices.

    checkpoints/step-00001000/
      model/shard-00001-…safetensors       one file a rank, by torch.distributed.checkpoint; which slice of which tensor a
      optimizer/shard-00001-…safetensors   file holds stands in its own header (no pickle, no index)
      state.json  manifest.json            as ever

They are read on any number of ranks, by one process too, and so are the plain ones: a slice that is wanted is put together from
whatever slices are there. Like those they are whole or absent: all ranks write into a folder under another name, the first one
adds the manifest with every file's hash (each rank hashes its own) and renames it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from yanmo.core import files
from yanmo.core.errors import CorruptError, WorkError
from yanmo.core.messages import text

if TYPE_CHECKING:
    from yanmo.train.checkpoint import State
    from yanmo.train.ranks import Ranks

MODEL, OPTIMIZER = "model", "optimizer"


def is_sharded(path: Path) -> bool:
    return (path / MODEL).is_dir()


def save(folder: Path, state: State, model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks) -> Path:
    """Writes `folder/step-N`, all ranks together; StorageError on a full disk of any of them, older checkpoints untouched."""
    from yanmo.train.checkpoint import MANIFEST, name_of

    target = folder / name_of(state.step)
    if ranks.first:
        with files.atomic(target) as temporary:
            temporary.mkdir()
            ranks.tell("checkpoint", str(temporary))
            record = _write(temporary, model, optimizer, ranks)
            files.write_json(temporary / "state.json", asdict(state))
            record["state.json"] = _entry(temporary / "state.json")
            files.write_json(temporary / MANIFEST, record)
    else:
        _write(Path(ranks.tell("checkpoint", "")), model, optimizer, ranks)
    ranks.tell("checkpoint written", "yes")
    return target


def _write(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks) -> dict[str, Any]:
    """The slices of every rank; the first one learns what all have written."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    for name, tensors in ((MODEL, _tensors(model)), (OPTIMIZER, _remembered(model, optimizer))):
        (folder / name).mkdir(exist_ok=True)
        try:
            dcp.save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder / name), save_distributed=True))
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


# ------------------------------------------------------------------------------------------------ reading


def load(path: Path, tensors: dict[str, Tensor]) -> None:
    """Fills the tensors (whole ones, or slices of them) from the checkpoint at `path`, sharded or not."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    alone = not any(isinstance(tensor, DTensor) for tensor in tensors.values())
    dcp.load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(path)), no_dist=alone)


def load_weights(path: Path, model: nn.Module) -> None:
    """The model's weights, from a checkpoint of any number of ranks."""
    with torch.no_grad():
        load(path / MODEL if is_sharded(path) else path, _tensors(model))


def load_optimizer(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """What the optimizer remembered, into slices like those of its parameters."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    folder = path / OPTIMIZER if is_sharded(path) else path
    stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    parameters = dict(model.named_parameters())
    wanted: dict[str, Tensor] = {}
    for key, about in stored.items():
        name, mark, _ = key.rpartition("::")
        if not mark:
            continue  # a plain checkpoint's weights stand in the same folder
        parameter = parameters.get(name)
        if parameter is None:
            raise CorruptError(str(path), text("the model that is trained"), text("a checkpoint of another, with '{name}'", name=name))
        if about.size == parameter.shape:
            wanted[key] = torch.zeros_like(parameter, dtype=about.properties.dtype)
        else:  # a counter
            wanted[key] = torch.zeros(about.size, dtype=about.properties.dtype)
    with torch.no_grad():
        load(folder, wanted)
    optimizer.state.clear()
    for key, value in wanted.items():
        name, _, what = key.rpartition("::")
        optimizer.state[parameters[name]][what] = value.to(parameters[name].device) if parameters[name].is_cuda else value


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name; one under two names once."""
    found: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        found.setdefault(id(value), name)
    values = model.state_dict()
    return {name: values[name].detach() for name in found.values()}


def _remembered(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            value = torch.as_tensor(value).detach()
            found[f"{name}::{key}"] = value if isinstance(value, DTensor) else value.contiguous()
    return found
