"""What a training step shares with other processes. The `World` of one process shares nothing and costs nothing, and has the
same methods as those of many (`parallel/worlds.py`), so that the loop has no `if`.

The rows of a step, and what is drawn for them, do not depend on how many processes there are: each takes the same micro-batches
from the same cursor and keeps its share of them; each micro-batch has random numbers of its own (`seed`); losses, weights and
gradients are sums over all, divided by the weight of the whole step. So the curve of four processes is that of one, but for the
order in which float32 numbers are added.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.objectives.base import Batch, Loss, Objective
from yanmo.train import checkpoint
from yanmo.train.optimizers import rows
from yanmo.train.writer import Writer

if TYPE_CHECKING:
    from yanmo.train.checkpoint import Snapshot, State
    from yanmo.train.job import Verdict
    from yanmo.train.machine.room import Room

STILL: AbstractContextManager[None] = nullcontext()


class World:
    """One process. `rank`: which it is of `size`; the `first` one writes."""

    rank = 0
    size = 1
    shares = 1  # over how many the micro-batches of a step are divided
    device = torch.device("cpu")

    @property
    def first(self) -> bool:
        return self.rank == 0

    # -------------------------------------------------------------------------------------------- the model

    def place(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model on its device, each process with the part of it that is its own; before the optimizer is made."""
        self.device = device
        return model.to(device)

    def shared(self, plan: dict[str, Any]) -> dict[str, Any]:
        """A training's plan with micro-batches for every share: with fewer rows each where there would be too few of them."""
        return {**plan, "micro_rows": min(plan["micro_rows"], -(-plan["rows"] // self.shares))}

    def forward(self, model: nn.Module, objective: Objective) -> Callable[[Batch], Loss]:
        """Batch → its loss; its backward pass shares the gradients."""
        return partial(objective.loss, model)

    def plain(self, model: nn.Module) -> nn.Module:
        """The whole model as one process would have it, for saving; only the first one's is whole."""
        return model

    # -------------------------------------------------------------------------------------------- a step

    def share(self, micro: list[Batch]) -> list[Batch]:
        """Those of a step's micro-batches that are this process's, as many in each."""
        return micro

    def seed(self, step: int, index: int) -> int:
        """Of the random numbers (dropout) of the micro-batch that is this process's number `index`."""
        return step + index

    def sync(self, last: bool) -> AbstractContextManager[None]:
        """Around a forward and backward pass; gradients are shared in the `last` one of a step."""
        return STILL

    def total(self, value: Any) -> Any:
        """The sum of every process's number or tensor."""
        return value

    def totals(self, sums: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
        """The same for metrics: name → (sum, over how many)."""
        return sums

    def norm(self, parameters: list[Tensor]) -> Tensor:
        """The norm of the whole gradient, of parameters that have one."""
        return torch.nn.utils.get_total_norm(rows.held(parameters))

    def at(self, phase: str, step: int | None = None) -> None:
        """For the heartbeat: which phase this process enters, and with the first one, of which step (from 1)."""

    def agree(self, signal: str | None) -> str | None:
        """The signal that any process got, for all to stop after the same step."""
        return signal

    def largest(self, value: float) -> float:
        """Of every process's."""
        return value

    def same(self, verdict: Verdict) -> Verdict:
        """The first process's, so that all decide alike."""
        return verdict

    # -------------------------------------------------------------------------------------------- files

    def folder(self, folder: Path) -> Path:
        """Where this process may write what only the first one's is kept of."""
        return folder

    def checkpoints(self, folder: Path) -> Path:
        """The one folder of checkpoints, made and cleared of what a killed process left."""
        found = folder / "checkpoints"
        found.mkdir(parents=True, exist_ok=True)
        files.remove_temporaries(found)
        return found

    def newest(self, find: Callable[[], Path | None]) -> Path | None:
        """What the first process finds."""
        return find()

    def restore(self, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, made_for: dict[str, Any]) -> State:
        return checkpoint.restore(path, model, optimizer, made_for)

    def snapshot(self, state: State, model: nn.Module, optimizer: torch.optim.Optimizer, carried: dict[str, Tensor] | None,
                 made_for: dict[str, Any]) -> Snapshot:  # fmt: skip
        """What a checkpoint holds, or this process's part of it."""
        return checkpoint.snapshot(state, model, optimizer, carried, made_for)

    def writer(self, folder: Path, keep: int, best_step: int, console: Console, what: str) -> Writer:
        return Writer(folder, keep, best_step, console, what)

    def room(self, room: Room) -> Room | None:
        """What cuts micro-batches that do not fit; a process alone can, one of many would leave the others waiting."""
        return room

    def leave(self) -> None:
        """The training is over."""
