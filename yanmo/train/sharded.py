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
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from yanmo.core import files
from yanmo.core.errors import CorruptError, WorkError
from yanmo.core.messages import text
from yanmo.train import divided
from yanmo.train.divided import shape_of

if TYPE_CHECKING:
    from yanmo.train.checkpoint import Snapshot, State
    from yanmo.train.parallel.ranks import Ranks

MODEL, OPTIMIZER = "model", "optimizer"


def is_sharded(path: Path) -> bool:
    return (path / MODEL).is_dir()


def snapshot(state: State, model: nn.Module, optimizer: torch.optim.Optimizer, made_for: dict[str, Any]) -> Snapshot:
    """This rank's slices themselves: they are written before training goes on."""
    from yanmo.train.checkpoint import Snapshot

    return Snapshot(asdict(state), _tensors(model), _remembered(model, optimizer), {}, made_for)


def write(folder: Path, held: Snapshot, ranks: Ranks) -> Path:
    """Writes `folder/step-N`, all ranks together; StorageError on a full disk of any of them, older checkpoints untouched."""
    from yanmo.train.checkpoint import FORMAT, MANIFEST

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


# ------------------------------------------------------------------------------------------------ reading


def in_slices(model: nn.Module) -> bool:
    """Whether the model's parameters lie in slices on several ranks."""
    return any(divided.in_slices(parameter) for parameter in model.parameters())


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name → the shape of the whole tensor."""
    named = dict(model.named_parameters())
    return {name: tuple(shape_of(named.get(name, value))) for name, value in _tensors(model).items()}


def stored(path: Path) -> dict[str, tuple[int, ...]]:
    """The same of a checkpoint's model."""
    if not is_sharded(path):  # beside the optimizer's and the rows' own tensors, see `checkpoint`
        from safetensors import safe_open

        with safe_open(path / f"{MODEL}.safetensors", "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    return {name: tuple(about.size) for name, about in _about(path, MODEL).items()}


def _about(path: Path, what: str) -> dict[str, Any]:
    """Name → size and type of what is stored, of a checkpoint's model or optimizer."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    found: Any = HuggingFaceStorageReader(str(_place(path, what))).read_metadata().state_dict_metadata
    return {name: about for name, about in found.items() if ("::" in name) == (what == OPTIMIZER)}  # plain ones share a folder


def _place(path: Path, what: str) -> Path:
    return path / what if is_sharded(path) else path


def read(path: Path, what: str) -> dict[str, Tensor]:
    """All of a checkpoint's model or optimizer, whole, in one process."""
    from safetensors.torch import load_file

    if not is_sharded(path):
        return load_file(path / f"{what}.safetensors")
    wanted = {name: torch.zeros(about.size, dtype=about.properties.dtype) for name, about in _about(path, what).items()}
    load(_place(path, what), wanted)
    return wanted


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, made_for: dict[str, Any]) -> State:
    """As `checkpoint.restore`, of a model in slices."""
    from yanmo.train.checkpoint import differs, state_of

    fault = differs(path, model, made_for)
    if fault is not None:
        raise CorruptError(str(path), *fault)
    load_weights(path, model)
    load_optimizer(path, model, optimizer)
    return state_of(path)


def load(path: Path, tensors: dict[str, Tensor]) -> None:
    """Fills the tensors (whole ones, or slices of them) from the checkpoint at `path`, sharded or not."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    alone = not any(divided.in_slices(tensor) for tensor in tensors.values())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process: as is meant
        dcp.load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(path)), no_dist=alone)


def load_weights(path: Path, model: nn.Module) -> None:
    """The model's weights, from a checkpoint of any number of ranks."""
    with torch.no_grad():
        load(_place(path, MODEL), _tensors(model))


def load_optimizer(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """What the optimizer remembered, into slices like those of its parameters."""
    parameters = dict(model.named_parameters())
    wanted: dict[str, Tensor] = {}
    for key, about in _about(path, OPTIMIZER).items():
        parameter = parameters[key.rpartition("::")[0]]
        if about.size == parameter.shape:
            wanted[key] = torch.zeros_like(parameter, dtype=about.properties.dtype)
        else:  # a counter
            wanted[key] = torch.zeros(about.size, dtype=about.properties.dtype)
    with torch.no_grad():
        load(_place(path, OPTIMIZER), wanted)
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
            found[f"{name}::{key}"] = value if divided.in_slices(value) else value.contiguous()
    return found
