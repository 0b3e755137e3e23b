"""What an objective is: how rows become a batch, and what is minimised on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from yanmo.core.config import Part
from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


SETTINGS = {  # of a Transformer of each kind
    "causal": "'architecture: decoder'",
    "masked": "'architecture: encoder'",
    "encoder-decoder": "'architecture: encoder-decoder'",
    "permuted": "'architecture: encoder' and 'embedding: {query: true}'",
}  # fmt: skip


@dataclass(frozen=True)
class Context:
    """What an objective is told before training: the tokenizer, other models (teacher, reference), a way to generate."""

    tokenizer: Tokenizer
    labels: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)  # of each label, the training rows that have it
    models: dict[str, Any] = field(default_factory=dict)
    generate: Callable[..., Any] | None = None  # (model, prompts, seeds, max_tokens, temperature, stop) → answers
    reward: Callable[..., list[float]] | None = None  # (examples, answers) → what each is worth
    folder: Path | None = None  # where what lasts for several steps is kept
    within: Callable[[], AbstractContextManager[Any]] = nullcontext  # the numbers' format, around passes without a gradient


@dataclass
class Batch:
    """Inputs and what is to be predicted. `targets` (B, T) int64 with `weights` (B, T) float32 (0: not trained), or
    `labels` (B,) int64, or both (-100: a row without one). `items` names the rows (global row numbers or example ids), so
    that a bad batch can be walked back to its documents.

    Where an objective carries a state from step to step: `carried`, what each row of the last step left, name →
    (B, *shape), and `fresh` (B,) bool, the rows that begin anew all the same."""

    inputs: Inputs
    targets: Tensor | None = None
    weights: Tensor | None = None
    labels: Tensor | None = None
    items: list[Any] = field(default_factory=list)
    carried: dict[str, Tensor] | None = None
    fresh: Tensor | None = None

    @property
    def weight(self) -> float:
        """How many tokens (or rows) are trained on: a step's losses are divided by the sum of its batches' weights."""
        if self.weights is not None:
            return float(self.weights.sum())
        return float(len(self.inputs.tokens))

    def to(self, device: torch.device | str) -> Batch:
        def move(value: Any) -> Any:
            if isinstance(value, Inputs):  # and the encoder's inputs in it
                return replace(value, **{name: move(item) for name, item in vars(value).items()})
            if isinstance(value, dict):
                return {name: move(item) for name, item in value.items()}
            return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

        return replace(self, **{name: move(value) for name, value in vars(self).items()})


@dataclass
class Loss:
    """`total` is the *sum* over the batch, differentiable; `weight` how many tokens (or rows) it sums, so that
    micro-batches and ranks are normalised by the whole batch's weight. `rows` (B,): each row's mean loss, detached.
    `metrics`: name → (sum, over how many), so that they too can be added up over micro-batches and ranks. `carried`: see
    `Batch`, detached."""

    total: Tensor
    weight: Tensor
    rows: Tensor
    metrics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    carried: dict[str, Tensor] | None = None


class Objective(Part):
    """`kinds`: the models that it trains, by `LanguageModel.kind`; empty: any. `overlap`: the tokens that a row shares with
    the one behind it in the stream. `carries`: whether rows continue those of the step before (`train/batches.py`)."""

    kinds: ClassVar[tuple[str, ...]] = ()
    overlap: ClassVar[int] = 0

    smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of each target that all tokens or labels get alike")

    @property
    def carries(self) -> bool:
        return False

    def stretch(self, context: int) -> int:
        """How many tokens of the stream become one row of at most `context` positions, `overlap` not counted."""
        return context

    def check(self, model: Any) -> None:
        """RequestError for a model that this objective cannot train."""
        kind = getattr(model, "kind", None)
        if self.kinds and kind is not None and kind not in self.kinds:
            remedy = text("a transformer is one with {settings}", settings=SETTINGS[self.kinds[0]])
            wanted = text("a model of the kind {kinds}", kinds=" / ".join(self.kinds))
            raise RequestError(f"objective '{self.type}'", wanted, str(kind), remedy)

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
