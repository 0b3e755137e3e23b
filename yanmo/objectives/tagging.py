"""Tagging: cross-entropy between the tag of each token that counts and the scores that a `Tagger` gives it.

Which tokens count is the task's matter (`Row.trained`): all that stand for something, or the first piece of each word
(Devlin et al. 2019, section 5.3). A step's loss is the mean over its tokens, so that a long text weighs more than a short one.

With `crf`, it is -ln p of a row's whole sequence of tags instead, under a conditional random field whose transitions are learned
along (Lample et al. 2016, equation 1). A row that is a window of a longer text is weighed as a part of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import PrivateAttr, model_validator
from torch import Tensor
from torch.nn import functional as F

from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.inputs import inputs_of, laid
from yanmo.nn.chain import Chain
from yanmo.objectives.base import Batch, Context, Loss, Objective

NONE = -100  # the label of a token that does not count


class Tagging(Objective):
    """Tell each token's tag.

    `crf`: also learn which tag follows which (a conditional random field), and decode by that."""

    type: str = "tagging"
    crf: bool = False

    _pad: int = PrivateAttr(default=0)

    @model_validator(mode="after")
    def _plain(self) -> Tagging:
        if self.crf and self.smoothing:
            raise ValueError(str(text("'smoothing' left out with 'crf', where no single tag has a loss of its own")))
        return self

    def check(self, model: Any) -> None:
        super().check(model)
        if self.crf and getattr(model, "chain", None) is None:
            raise RequestError("objective.crf", text("a tagger with transitions"), type(model).__name__)

    def bind(self, context: Context) -> Tagging:
        bound = self.model_copy()
        bound._pad = context.tokenizer.pad_id
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows padded on the right. `labels` (B, T): the tags, NONE where a token does not count; `weights` (B, T): 1 where one
        does. Without labels where nobody knows a row's tags. With `crf`, `targets` (B, T): 1 for the tokens of the text, whether
        they count in this row or in another."""
        labels, weights, targets = None, None, None
        if all(row.label is not None for row in rows):
            tags = [[tag if counts and tag >= 0 else NONE for tag, counts in zip(row.label, _counted(row))] for row in rows]
            labels = laid(tags, NONE)
            weights = (labels != NONE).float()
        if self.crf:
            targets = laid([[int(place is not None) for place in row.places or _none(row)] for row in rows], 0)
        return Batch(inputs_of(rows, self._pad), targets, labels=labels, weights=weights, items=[row.example for row in rows])

    def loss(self, model: Any, batch: Batch) -> Loss:
        if self.crf:
            return self.read(model, batch)[1]
        return self.judged(model(batch.inputs), batch, self.smoothing if model.training else 0.0)

    def read(self, model: Any, batch: Batch) -> tuple[Tensor, Loss]:
        """The scores (B, T, L) of a batch and its loss, without smoothing."""
        if not self.crf:
            scores = model(batch.inputs)
            return scores, self.judged(scores, batch)

        assert batch.labels is not None
        labels = batch.labels

        def reduced(scores: Tensor, chain: Chain) -> tuple[Tensor, Tensor]:
            return scores, chain.surprise(scores, labels, *_edges(batch))

        scores, sums = model(batch.inputs, reduce=reduced)
        assert batch.weights is not None
        counts = batch.weights.sum(1)
        return scores, Loss(sums.sum(), counts.sum(), sums.detach() / counts.clamp(min=1))

    def judged(self, scores: Tensor, batch: Batch, smoothing: float = 0.0) -> Loss:
        """The loss of scores (B, T, L). With `accuracy`, the share of tags that are the highest."""
        assert batch.labels is not None
        assert batch.weights is not None
        each = F.cross_entropy(scores.float().transpose(1, 2), batch.labels, reduction="none", ignore_index=NONE,
                               label_smoothing=smoothing)  # fmt: skip
        counts = batch.weights.sum(1)
        sums = each.sum(1)
        right = (scores.detach().argmax(-1) == batch.labels).sum()
        return Loss(sums.sum(), counts.sum(), sums.detach() / counts.clamp(min=1), {"accuracy": (right, counts.sum())})


def _counted(row: Row) -> list[bool] | np.ndarray:
    return np.ones(len(row.tokens), bool) if row.trained is None else row.trained


def _none(row: Row) -> list[None]:
    return [None] * len(row.tokens)


def _edges(batch: Batch) -> tuple[Tensor, Tensor]:
    """(B,) bool each: whether no token of the text stands before a row's first that counts, and none behind its last."""
    assert batch.labels is not None
    assert batch.targets is not None
    counted, tokens = batch.labels >= 0, batch.targets > 0
    before = counted.int().cummax(1).values == 0
    behind = counted.int().flip(1).cummax(1).values.flip(1) == 0
    return ~(tokens & before).any(1), ~(tokens & behind).any(1)
