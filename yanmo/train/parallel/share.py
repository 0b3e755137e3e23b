"""A rank's share of a step: whole micro-batches, or some positions of each."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from yanmo.objectives.base import Batch, Loss


@dataclass
class Rows:
    """The whole rows of which a rank has some positions: their length, who belongs together, what is there."""

    length: int
    documents: Tensor | None
    mask: Tensor | None

    def to(self, device: torch.device | str) -> Rows:
        held = (None if x is None else x.to(device, non_blocking=True) for x in (self.documents, self.mask))
        return Rows(self.length, *held)


@dataclass
class Share(Batch):
    """A batch of this rank's. `spare`: it counts for nothing, and lets a rank with fewer micro-batches join in what all do
    together; `rows`: what it is cut from, where the ranks divide positions."""

    spare: bool = False
    rows: Rows | None = None

    @classmethod
    def of(cls, batch: Batch, spare: bool = False) -> Share:
        return cls(**{f.name: getattr(batch, f.name) for f in fields(Batch)}, spare=spare)

    @property
    def weight(self) -> float:
        return 0.0 if self.spare else super().weight

    def to(self, device: torch.device | str) -> Batch:
        moved = super().to(device)
        assert isinstance(moved, Share)
        moved.rows = None if self.rows is None else self.rows.to(device)
        return moved

    def pinned(self) -> Share:
        """In memory that a GPU can copy from while both go on."""

        def pin(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.pin_memory()
            held = {f.name: pin(getattr(value, f.name)) for f in fields(value)} if hasattr(value, "tokens") else {}
            return replace(value, **held) if held else value

        return replace(self, **{f.name: pin(getattr(self, f.name)) for f in fields(self)})


def weighed(loss: Loss, batch: Batch) -> Loss:
    """The loss of a share: nothing for a spare one."""
    if not (isinstance(batch, Share) and batch.spare):
        return loss
    metrics = {name: (0.0 * amount, 0.0 * count) for name, (amount, count) in loss.metrics.items()}
    return replace(loss, total=0.0 * loss.total, weight=0.0 * loss.weight, metrics=metrics)
