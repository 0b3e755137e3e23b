"""What an objective is: how rows become a batch, and what is minimised on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yanmo.core.config import Part
from yanmo.core.data import Row
from yanmo.models.base import Inputs

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Context:
    """What an objective is told before training: the tokenizer, other models (teacher, reference), a way to generate."""

    tokenizer: Tokenizer
    labels: list[str] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)
    generate: Callable[..., Any] | None = None


@dataclass
class Batch:
    """Inputs and what is to be predicted. `targets` (B, T) int64 with `weights` (B, T) float32 (0: not trained), or
    `labels` (B,) int64. `items` names the rows (global row numbers or example ids), so that a bad batch can be walked
    back to its documents."""

    inputs: Inputs
    targets: Tensor | None = None
    weights: Tensor | None = None
    labels: Tensor | None = None
    items: list[Any] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """How many tokens (or rows) are trained on: a step's losses are divided by the sum of its batches' weights."""
        if self.weights is not None:
            return float(self.weights.sum())
        return float(len(self.inputs.tokens))

    def to(self, device: torch.device | str) -> Batch:
        def move(value: Any) -> Any:
            return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

        inputs = replace(self.inputs, **{k: move(v) for k, v in vars(self.inputs).items()})
        return replace(self, inputs=inputs, targets=move(self.targets), weights=move(self.weights), labels=move(self.labels))


@dataclass
class Loss:
    """`total` is the *sum* over the batch, differentiable; `weight` how many tokens (or rows) it sums, so that
    micro-batches and ranks are normalised by the whole batch's weight. `rows` (B,): each row's mean loss, detached."""

    total: Tensor
    weight: Tensor
    rows: Tensor
    metrics: dict[str, float] = field(default_factory=dict)


class Objective(Part):
    def bind(self, context: Context) -> Objective:
        """Itself with the context kept; the bound objective is what trains."""
        return self

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        raise NotImplementedError

    def expand(self, model: Any, batch: Batch, rng: torch.Generator) -> Iterator[Batch]:
        """Objectives with rollouts make new batches of one; the others train on the batch itself."""
        yield batch

    def loss(self, model: Any, batch: Batch) -> Loss:
        raise NotImplementedError
