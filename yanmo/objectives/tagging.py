"""Tagging: cross-entropy between the tag of each token that counts and the scores that a `Tagger` gives it.

Which tokens count is the task's matter (`Row.trained`): all that stand for something, or the first piece of each word
(Devlin et al. 2019, section 5.3). A step's loss is the mean over its tokens, so that a long text weighs more than a short one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor
from torch.nn import functional as F

from yanmo.core.data import Row
from yanmo.models.inputs import inputs_of, laid
from yanmo.objectives.base import Batch, Context, Loss, Objective

NONE = -100  # the label of a token that does not count


class Tagging(Objective):
    """Tell each token's tag."""

    type: str = "tagging"

    _pad: int = PrivateAttr(default=0)

    def bind(self, context: Context) -> Tagging:
        bound = self.model_copy()
        bound._pad = context.tokenizer.pad_id
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows padded on the right. `labels` (B, T): the tags, NONE where a token does not count; `weights` (B, T): 1 where one
        does. Without labels where nobody knows a row's tags."""
        labels, weights = None, None
        if all(row.label is not None for row in rows):
            tags = [[tag if counts and tag >= 0 else NONE for tag, counts in zip(row.label, _counted(row))] for row in rows]
            labels = laid(tags, NONE)
            weights = (labels != NONE).float()
        return Batch(inputs_of(rows, self._pad), labels=labels, weights=weights, items=[row.example for row in rows])

    def loss(self, model: Any, batch: Batch) -> Loss:
        return self.judged(model(batch.inputs), batch, self.smoothing if model.training else 0.0)

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
