"""Classification: cross-entropy between a row's label and the scores that a `Classifier` gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, PrivateAttr
from torch import Tensor

from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs
from yanmo.objectives.balance import BETA, Balance, focused, weights
from yanmo.objectives.base import Batch, Context, Loss, Objective


class Supervised(Objective):
    """Tell a text's label.

    `balance`: rows of rare labels count for more. `focal`: what the model is sure of counts less.
    """

    type: str = "supervised"
    balance: Balance | None = Field(None, description="'inverse' or 'effective': rows of rare labels count for more")
    beta: float = Field(BETA, gt=0, lt=1, description="of 'effective'")
    focal: float = Field(0.0, ge=0, le=10, description="the power of focal loss; 0: cross-entropy")

    _pad: int = PrivateAttr(default=0)
    _weights: Any = PrivateAttr(default=None)  # (L,) float32, or None

    def bind(self, context: Context) -> Supervised:
        """RequestError where rows are to be balanced and nobody says how many each label has."""
        bound = self.model_copy()
        bound._pad = context.tokenizer.pad_id
        if self.balance is not None:
            if not sum(context.counts):
                raise RequestError("objective.balance", text("training rows for every label"), text("none"))
            bound._weights = torch.from_numpy(weights(context.counts, self.balance, self.beta))
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows padded on the right to the longest; `mask` says what is padding, never the token ids. Rows of pairs bring the
        type of each token."""
        lengths = np.array([len(row.tokens) for row in rows])
        mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])
        types = None
        if any(row.types is not None for row in rows):
            types = padded([row.types or [0] * len(row.tokens) for row in rows], 0)
        known = all(row.label is not None for row in rows)
        return Batch(
            Inputs(padded([row.tokens for row in rows], self._pad), types=types, mask=mask),
            labels=torch.tensor([row.label for row in rows]) if known else None,
            items=[row.example for row in rows],
        )

    def loss(self, model: Any, batch: Batch) -> Loss:
        assert batch.labels is not None
        scores = model(batch.inputs).float()
        smoothing = self.smoothing if model.training else 0.0
        losses = F.cross_entropy(scores, batch.labels, reduction="none", label_smoothing=smoothing)
        if self.focal:
            losses = focused(losses, scores.softmax(-1).gather(-1, batch.labels[:, None])[:, 0], self.focal)
        if self._weights is not None:
            losses = losses * self._weights.to(losses.device)[batch.labels]
        return Loss(losses.sum(), torch.tensor(float(len(losses)), device=losses.device), losses.detach())


def padded(rows: list[list[int]], pad: int) -> Tensor:
    """(B, T) int64, `pad` behind the shorter ones."""
    tokens = np.full((len(rows), max(map(len, rows))), pad, dtype=np.int64)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    return torch.from_numpy(tokens)
