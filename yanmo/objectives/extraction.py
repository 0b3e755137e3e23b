"""Extraction: the first and the last token of an answer (Devlin et al. 2019, section 4.2), each by cross-entropy over the
tokens of the row that can be one: those of the text, and the mark that stands for no answer (section 4.3).

    loss of a row = (-ln p(first) - ln p(last)) / 2

The question, padding and other marks have no part in the softmax.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PrivateAttr
from torch import Tensor

from yanmo.core.data import Row
from yanmo.models.inputs import inputs_of, laid
from yanmo.objectives.base import Batch, Context, Loss, Objective


class Extraction(Objective):
    """Find where an answer begins and where it ends, or that there is none."""

    type: str = "extraction"

    _pad: int = PrivateAttr(default=0)

    def bind(self, context: Context) -> Extraction:
        bound = self.model_copy()
        bound._pad = context.tokenizer.pad_id
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows padded on the right. `labels` (B, 2): first and last token; `targets` (B, T): 1 for the tokens that can be one.
        Without labels where nobody knows a row's answer."""
        known = all(row.label is not None for row in rows)
        return Batch(
            inputs_of(rows, self._pad),
            targets=laid([[1] * len(row.tokens) if row.trained is None else row.trained for row in rows], 0),
            labels=torch.tensor([list(row.label) for row in rows]) if known else None,
            items=[row.example for row in rows],
        )

    def loss(self, model: Any, batch: Batch) -> Loss:
        return self.judged(model(batch.inputs), batch, self.smoothing if model.training else 0.0)

    def read(self, model: Any, batch: Batch) -> tuple[Tensor, Loss]:
        """The scores (B, T, 2) of a batch and its loss, without smoothing."""
        scores = model(batch.inputs)
        return scores, self.judged(scores, batch)

    def judged(self, scores: Tensor, batch: Batch, smoothing: float = 0.0) -> Loss:
        """The loss of scores (B, T, 2). With `exact`, the share of rows both of whose ends are the highest."""
        assert batch.labels is not None
        assert batch.targets is not None
        able = batch.targets.bool()
        logs = scores.float().masked_fill(~able[..., None], float("-inf")).log_softmax(1)
        chosen = logs.gather(1, batch.labels[:, None, :]).squeeze(1)  # (B, 2)
        losses = -chosen.mean(1)
        if smoothing:
            spread = logs.masked_fill(~able[..., None], 0.0).sum(1) / able.sum(1, keepdim=True)
            losses = (1 - smoothing) * losses - smoothing * spread.mean(1)
        right = (logs.detach().argmax(1) == batch.labels).all(1)
        count = torch.tensor(float(len(losses)), device=losses.device)
        return Loss(losses.sum(), count, losses.detach(), {"exact": (right.sum(), count)})
