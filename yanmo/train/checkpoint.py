"""Checkpoints: what a killed run needs to go on, bit for bit, and the best model so far.

    checkpoints/step-00001000/
      model.safetensors        parameters and buffers
      optimizer.safetensors    what the optimizer remembers, `parameter::key`
      carried.safetensors      the state that rows go on from, where the objective carries one
      state.json               step, cursor into the data, seed, early stopping, best, the scaler's and the guard's state
      manifest.json            format, what it was made for, size and sha256 of each of these

A checkpoint is a folder written under another name, flushed and renamed: it is whole or absent. One whose bytes are not
those of its manifest is skipped with a warning, and the next older one is used. The best one is never pruned.
`writer.py` writes them behind the training's back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import CorruptError
from yanmo.core.messages import Text, text
from yanmo.train import slices
from yanmo.train.divided import part, shape_of, whole

MANIFEST, CARRIED = "manifest.json", "carried.safetensors"
FORMAT = 2  # of a checkpoint; 1 had no number, and said of nothing what it was made for


@dataclass
class State:
    """Where a training run is. All of it is plain data; the tensors are the model's and the optimizer's own.

    Random numbers need no state of their own: each step's generators are seeded by (seed, step), see `randomness`; nor do
    schedules, which are functions of the step.
    """

    seed: int
    step: int = 0
    cursor: tuple[int, int] = (0, 0)  # (epoch, index of the next row or batch in it)
    tokens: int = 0  # trained on so far
    seconds: float = 0.0  # of work so far, over all tries
    joules: float | None = 0.0  # of energy so far, over all tries; None where it is unknown
    power: str = "measured"  # how that was found: the weakest way so far, see `core.energy`
    validated: int = -1  # the last step that was validated
    best: tuple[float, ...] | None = None  # the smallest rank so far, and
    best_step: int = -1  # where it was
    waited: int = 0  # validations since
    stopped: bool = False  # early
    scaler: dict[str, Any] | None = None  # of float16's gradients
    guard: dict[str, Any] = field(default_factory=dict)  # what spikes are told by


def name_of(step: int) -> str:
    return f"step-{step:08d}"


@dataclass(frozen=True)
class Snapshot:
    """All that a checkpoint holds, as it was at one moment."""

    state: dict[str, Any]
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    carried: dict[str, Tensor]
    made_for: dict[str, Any]

    @property
    def name(self) -> str:
        return name_of(self.state["step"])


def snapshot(state: State, model: nn.Module, optimizer: torch.optim.Optimizer, carried: dict[str, Tensor] | None = None,
             made_for: dict[str, Any] | None = None, copy: bool = True) -> Snapshot:  # fmt: skip
    """Copies of everything in main memory, so that training may go on while they are written; `copy` False: the tensors
    themselves."""

    def kept(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to("cpu", copy=True) for name, value in tensors.items()} if copy else tensors

    rows = {name: value.detach().contiguous() for name, value in (carried or {}).items()}
    return Snapshot(asdict(state), kept(_whole(model)), kept(_remembered(model, optimizer)), kept(rows),
                    made_for or {})  # fmt: skip


def write(folder: Path, held: Snapshot) -> Path:
    """Writes `folder/step-N`; raises StorageError on a full disk, older checkpoints untouched."""
    from safetensors.torch import save_file

    target = folder / held.name
    with files.atomic(target) as temporary:
        temporary.mkdir()
        save_file(held.model, temporary / "model.safetensors")
        save_file(held.optimizer, temporary / "optimizer.safetensors")
        if held.carried:
            save_file(held.carried, temporary / CARRIED)
        files.write_json(temporary / "state.json", held.state)
        record = {p.name: {"size": p.stat().st_size, "sha256": files.sha256(p)} for p in files.files(temporary)}
        files.write_json(temporary / MANIFEST, {"format": FORMAT, "made_for": held.made_for, "files": record})
    return target


def save(folder: Path, state: State, model: nn.Module, optimizer: torch.optim.Optimizer,
         carried: dict[str, Tensor] | None = None, made_for: dict[str, Any] | None = None) -> Path:  # fmt: skip
    """A checkpoint of what there is now, written before this returns."""
    return write(folder, snapshot(state, model, optimizer, carried, made_for, copy=False))


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, made_for: dict[str, Any] | None = None) -> State:
    """Puts the checkpoint at `path` back into the model and the optimizer; returns its state.

    CorruptError, before anything is touched, where it was made for something else than `made_for` or this model, or by a
    newer version of this code."""
    fault = differs(path, model, made_for or {})
    if fault is not None:
        raise CorruptError(str(path), *fault)
    load_weights(path, model)
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for key, value in slices.read(path, "optimizer").items():
        name, _, what = key.rpartition("::")
        parameter = parameters[name]
        value = part(value, parameter) if value.shape == shape_of(parameter) else value
        # The step counter keeps its place (the CPU, or the device for fused kernels): as the optimizer would make it.
        optimizer.state[parameter][what] = value.to(parameter.device) if value.ndim or parameter.is_cuda else value
    return state_of(path)


def state_of(path: Path) -> State:
    plain = files.read_json(path / "state.json")
    plain["cursor"] = tuple(plain["cursor"])
    plain["best"] = tuple(plain["best"]) if plain["best"] is not None else None
    return State(**plain)


def differs(path: Path, model: nn.Module, made_for: dict[str, Any]) -> tuple[Text, Text, Text] | None:
    """(expected, given, remedy) of a checkpoint that is not one of this training."""
    other = text("use another run directory, or --redo STAGE to train anew")
    record = files.read_json(path / MANIFEST)
    number = record.get("format", 1)
    if number > FORMAT:
        return (text("a checkpoint of format {format} at most", format=FORMAT),
                text("format {format}, of a newer Yanmo", format=number),
                text("install that version, or {other}", other=other))  # fmt: skip
    then = record.get("made_for", {})
    for key, value in made_for.items():
        if key in then and then[key] != value:
            return (text("a checkpoint for {what} {name}", what=key, name=str(value)), text("for {name}", name=str(then[key])),
                    other)  # fmt: skip
    own, shapes = slices.shapes(model), slices.stored(path)
    for name in sorted(own.keys() | shapes.keys()):
        mine = own.get(name)
        if mine != shapes.get(name):
            return (text("a checkpoint of this model, whose {name} is {shape}", name=name, shape=_shown(mine)),
                    text("one of another model, where it is {shape}", shape=_shown(shapes.get(name))), other)  # fmt: skip
    return None


def _shown(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else "×".join(map(str, shape)) or "1"


def carried(path: Path, device: torch.device) -> dict[str, Tensor] | None:
    """The state that rows go on from, name → (rows, *shape); None where the objective carries none."""
    from safetensors.torch import load_file

    return load_file(path / CARRIED, str(device)) if (path / CARRIED).is_file() else None


def load_weights(path: Path, model: nn.Module) -> None:
    if slices.in_slices(model):
        slices.load_weights(path, model)
        return
    own, named = model.state_dict(), dict(model.named_parameters())
    loaded = slices.read(path, "model")
    with torch.no_grad():
        for name, value in _unshared(own).items():
            own[name].copy_(part(loaded[name], named.get(name, value)).to(value.dtype))


def newest(folder: Path, console: Console | None = None) -> Path | None:
    """The newest checkpoint whose bytes are those that its manifest records; broken ones are named and skipped."""
    paths = sorted(folder.glob("step-*"), reverse=True)
    for path in paths:
        fault = broken(path)
        if fault is None:
            return path
        if console is not None:
            skipped = text("{path}: skipped, {fault}; an older checkpoint is used", path=str(path), fault=fault)
            begins = text("{path}: skipped, {fault}; there is no older checkpoint, training begins anew", path=str(path),
                          fault=fault)  # fmt: skip
            console.warn(begins if path == paths[-1] else skipped)
    return None


def broken(path: Path) -> Any:
    """None for a sound checkpoint, else what is wrong with it. What a newer version wrote is for `restore` to refuse."""
    try:
        record = files.read_json(path / MANIFEST)
        if record.get("format", 1) > FORMAT:
            return None
        for name, entry in (record["files"] if "format" in record else record).items():
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
            found[f"{name}::{key}"] = whole(torch.as_tensor(value).detach(), parameter).contiguous()
    return found


def _whole(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors, those that are divided among processes put together."""
    named = dict(model.named_parameters())
    return {name: whole(value, named.get(name, value)) for name, value in _unshared(model.state_dict()).items()}
