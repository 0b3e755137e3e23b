"""What a training run is handed: model, objective, rows, optimizer, and how long, how often, and where to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from yanmo.core.console import Console
from yanmo.objectives.base import Batch, Objective
from yanmo.train.guard import Guard
from yanmo.train.schedule import Schedule


class Batches(Protocol):
    """Where rows come from. `take` gives one step's micro-batches and the cursor behind them, from any cursor in O(1)."""

    def take(self, cursor: tuple[int, int], rng: torch.Generator) -> tuple[list[Batch], tuple[int, int]]: ...

    def describe(self, items: list[Any]) -> str:
        """The documents or examples behind rows, for a person to look at."""
        ...


@dataclass(frozen=True)
class Verdict:
    """One validation: `rank`, the smaller the better (compared left to right), and figures to show."""

    rank: tuple[float, ...]
    figures: dict[str, float]


@dataclass
class Job:
    """All that a training run needs; nothing in it changes while it runs but model and optimizer."""

    model: nn.Module
    objective: Objective
    batches: Batches
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    steps: int
    folder: Path  # gets checkpoints/ and metrics.jsonl
    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    compile: bool = False
    clip: float = 1.0
    validate: Callable[[], Verdict] | None = None
    validate_every: int | None = None
    patience: int | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    guard: Guard = field(default_factory=Guard)
    console: Console = field(default_factory=Console)
    what: str = "training"
