"""What a training run is handed: model, objective, rows, optimizer, and how long, how often, and where to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from yanmo.core.console import Console
from yanmo.objectives.base import Batch, Objective
from yanmo.train.average import Averaging
from yanmo.train.guard import Guard
from yanmo.train.horizon import Horizon
from yanmo.train.machine.gauge import Gauge
from yanmo.train.machine.precision import scaler
from yanmo.train.optimizers.base import Live
from yanmo.train.records.bands import Band
from yanmo.train.records.record import Record, Title
from yanmo.train.schedule import Schedule
from yanmo.train.world import World


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
    """All that a training run needs; nothing in it changes while it runs but model, optimizer, guard and scaler."""

    model: nn.Module
    objective: Objective
    batches: Batches
    optimizer: Live
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
    average: Averaging = field(default_factory=Averaging)
    guard: Guard = field(default_factory=Guard)
    console: Console = field(default_factory=Console)
    what: str = "training"
    horizon: Horizon | None = None  # where it ends, if not simply after `steps`: a budget
    records: Sequence[Record] = ()  # where figures go beside metrics.jsonl, and
    title: Title = field(default_factory=Title)  # what they are called there
    gauge: Gauge | None = None  # what tells the costs
    band: Band | None = None  # what losses are expected
    recompute: bool = False  # the model's regions in the backward pass, instead of keeping what they computed
    prefetch: int = 0  # steps whose rows are collated ahead, in a thread
    origins: Callable[[list[Any]], list[dict[str, Any]]] | None = None  # rows' items → where their documents were read
    scaler: torch.amp.GradScaler | None = None  # of float16
    world: World = field(default_factory=World)  # the processes that train together

    def __post_init__(self) -> None:
        self.scaler = scaler(self.precision, self.device)
