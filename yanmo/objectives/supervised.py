"""Classification: cross-entropy between a row's label and the scores that a `Classifier` gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PrivateAttr

from yanmo.core.data import Row
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch, Context, Loss, Objective


class Supervised(Objective):
    """Tell a text's label."""

    _pad: int = PrivateAttr(default=0)

    def bind(self, context: Context) -> Supervised:
        bound = self.model_copy()
        bound._pad = context.tokenizer.pad_id
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows padded on the right to the longest; `mask` says what is padding, never the token ids."""
        longest = max(len(row.tokens) for row in rows)
        tokens = np.full((len(rows), longest), self._pad, dtype=np.int64)
        for index, row in enumerate(rows):
            tokens[index, : len(row.tokens)] = row.tokens
        lengths = np.array([len(row.tokens) for row in rows])
        mask = torch.from_numpy(np.arange(longest) < lengths[:, None])
        known = all(row.label is not None for row in rows)
        return Batch(
            Inputs(torch.from_numpy(tokens), mask=mask),
            labels=torch.tensor([row.label for row in rows]) if known else None,
            items=[row.example for row in rows],
        )

    def loss(self, model: Any, batch: Batch) -> Loss:
        assert batch.labels is not None
        scores = model(batch.inputs)
        smoothing = self.smoothing if model.training else 0.0
        losses = F.cross_entropy(scores.float(), batch.labels, reduction="none", label_smoothing=smoothing)
        return Loss(losses.sum(), torch.tensor(float(len(losses)), device=losses.device), losses.detach())
