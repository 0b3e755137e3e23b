"""Checkpoints: what a killed run needs to go on, bit for bit, and the best model so far.

    checkpoints/step-00001000/
      model.safetensors        parameters and buffers
      optimizer.safetensors    what the optimizer remembers, `parameter::key`
      carried.safetensors      the state that rows go on from, where the objective carries one
      state.json               step, cursor into the data, seed, early stopping, best
      manifest.json            size and sha256 of each of these

A checkpoint is a folder written under another name, flushed and renamed: it is whole or absent. One whose bytes are not
those of its manifest is skipped with a warning, and the next older one is used. The best one is never pruned.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.messages import text

MANIFEST, CARRIED = "manifest.json", "carried.safetensors"


@dataclass
class State:
    """Where a training run is. All of it is plain data; the tensors are the model's and the optimizer's own.

    Random numbers need no state of their own: each step's generators are seeded by (seed, step), see `loop.seeded`.
    """

    seed: int
    step: int = 0
    cursor: tuple[int, int] = (0, 0)  # (epoch, index of the next row or batch in it)
    tokens: int = 0  # trained on so far
    seconds: float = 0.0  # of work so far, over all tries
    validated: int = -1  # the last step that was validated
    best: tuple[float, ...] | None = None  # the smallest rank so far, and
    best_step: int = -1  # where it was
    waited: int = 0  # validations since
    stopped: bool = False  # early


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def save(folder: Path, state: State, model: nn.Module, optimizer: torch.optim.Optimizer,
         carried: dict[str, Tensor] | None = None) -> Path:  # fmt: skip
    """Writes `folder/step-N`; raises StorageError on a full disk, older checkpoints untouched."""
    from safetensors.torch import save_file

    target = folder / name_of(state.step)
    with files.atomic(target) as temporary:
        temporary.mkdir()
        save_file(_unshared(model.state_dict()), temporary / "model.safetensors")
        save_file(_remembered(model, optimizer), temporary / "optimizer.safetensors")
        if carried:
            save_file({name: value.contiguous() for name, value in carried.items()}, temporary / CARRIED)
        files.write_json(temporary / "state.json", asdict(state))
        record = {p.name: {"size": p.stat().st_size, "sha256": files.sha256(p)} for p in files.files(temporary)}
        files.write_json(temporary / MANIFEST, record)
    return target


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Puts the checkpoint at `path` back into the model and the optimizer; returns its state."""
    from safetensors.torch import load_file

    load_weights(path, model)
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for key, value in load_file(path / "optimizer.safetensors").items():
        name, _, what = key.rpartition("::")
        parameter = parameters[name]
        # The step counter keeps its place (the CPU, or the device for fused kernels): as the optimizer would make it.
        optimizer.state[parameter][what] = value.to(parameter.device) if value.ndim or parameter.is_cuda else value
    plain = files.read_json(path / "state.json")
    plain["cursor"] = tuple(plain["cursor"])
    plain["best"] = tuple(plain["best"]) if plain["best"] is not None else None
    return State(**plain)


def carried(path: Path, device: torch.device) -> dict[str, Tensor] | None:
    """The state that rows go on from, name → (rows, *shape); None where the objective carries none."""
    from safetensors.torch import load_file

    return load_file(path / CARRIED, str(device)) if (path / CARRIED).is_file() else None


def load_weights(path: Path, model: nn.Module) -> None:
    from safetensors.torch import load_file

    own = model.state_dict()
    loaded = load_file(path / "model.safetensors")
    with torch.no_grad():
        for name, value in _unshared(own).items():
            own[name].copy_(loaded[name].to(value.dtype))


def newest(folder: Path, console: Console | None = None) -> Path | None:
    """The newest checkpoint whose bytes are those that its manifest records; broken ones are named and skipped."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        fault = broken(path)
        if fault is None:
            return path
        if console is not None:
            console.warn(text("{path}: skipped, {fault}; an older checkpoint is used", path=str(path), fault=fault))
    return None


def broken(path: Path) -> Any:
    """None for a sound checkpoint, else what is wrong with it."""
    try:
        record = files.read_json(path / MANIFEST)
        for name, entry in record.items():
            if not (path / name).is_file():
                return text("{name} is gone", name=name)
            if (path / name).stat().st_size != entry["size"] or files.sha256(path / name) != entry["sha256"]:
                return text("{name} has changed", name=name)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return text("no readable manifest")
    return None


def prune(folder: Path, keep: int, best_step: int) -> None:
    """Removes all but the newest `keep` checkpoints and the best one."""
    paths = sorted(folder.glob("step-*"))
    for path in paths[: max(0, len(paths) - keep)]:
        if path.name != name_of(best_step):
            files.remove(path)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous, and a tensor under two names (a tied head) once: under the first of them."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in tensors.items():
        if tensor.numel() and tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        kept[name] = tensor.detach().contiguous()
    return kept


def _remembered(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            found[f"{name}::{key}"] = torch.as_tensor(value).detach().contiguous()
    return found
