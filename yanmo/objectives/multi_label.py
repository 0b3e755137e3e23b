"""Classification into any number of labels: of each label, whether it holds or not, and the cross-entropy of that."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from yanmo.core.data import Row
from yanmo.models.base import Inputs
from yanmo.objectives.balance import focused
from yanmo.objectives.base import Batch, Loss
from yanmo.objectives.supervised import Supervised


class MultiLabelObjective(Supervised):
    """Tell which labels hold of a text.

    A row's loss is the mean over the labels. `balance` weighs a label's rows that hold; `smoothing` draws both answers towards ½.
    """

    type: str = "multi_label"

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """`labels` (B, L) float32: 1 where a label holds."""
        made = super().collate([Row(row.tokens, example=row.example, types=row.types) for row in rows], rng)
        assert isinstance(made.inputs, Inputs)
        if all(row.label is not None for row in rows):
            made.labels = torch.tensor([row.label for row in rows], dtype=torch.float32)
        return made

    def loss(self, model: Any, batch: Batch) -> Loss:
        assert batch.labels is not None
        scores = model(batch.inputs).float()
        smoothing = self.smoothing if model.training else 0.0
        wanted = batch.labels * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
        if self.focal:
            share = scores.sigmoid()
            losses = focused(losses, torch.where(batch.labels > 0, share, 1 - share), self.focal)
        if self._weights is not None:
            losses = losses * torch.where(batch.labels > 0, self._weights.to(losses.device), 1.0)
        rows = losses.mean(-1)
        return Loss(rows.sum(), torch.tensor(float(len(rows)), device=rows.device), rows.detach())
