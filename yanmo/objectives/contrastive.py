"""Contrast: of a batch's second texts, which belongs to the first (InfoNCE, van den Oord et al. 2018, arXiv:1807.03748; with
the others of the batch as what it is not, Henderson et al. 2017, arXiv:1705.00652).

    loss of a pair = -ln softmax_j(cos(a_i, b_j) / τ)[i],   and, `symmetric`, the same from b to a, halved

A second text that stands in the batch twice is nobody's wrong answer. What is told apart are the pairs of one micro-batch:
more of them are a harder task, so that a step's loss does depend on how it is divided (`train.micro_tokens`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field, PrivateAttr
from torch.nn import functional as F

from yanmo.core.data import Row
from yanmo.models.inputs import inputs_of
from yanmo.objectives.base import Batch, Context, Loss, Objective


class Contrastive(Objective):
    """Tell which of a batch's texts belong together.

    `temperature`: what the cosines are divided by; `symmetric`: asked from both sides."""

    type: str = "contrastive"
    temperature: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    symmetric: bool = True

    _pad: int = PrivateAttr(default=0)

    def bind(self, context: Context) -> Contrastive:
        bound = self.model_copy()
        bound._pad = context.tokenizer.pad_id
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """`inputs` the first texts, their `source` the second ones (`Row.label`: tokens); `labels` (B,): equal where the second
        texts are."""
        seconds = [Row(list(row.label)) for row in rows]
        known: dict[tuple[int, ...], int] = {}
        labels = [known.setdefault(tuple(row.tokens), len(known)) for row in seconds]
        inputs = replace(inputs_of(rows, self._pad), source=inputs_of(seconds, self._pad))
        return Batch(inputs, labels=torch.tensor(labels), items=[row.example for row in rows])

    def loss(self, model: Any, batch: Batch) -> Loss:
        assert batch.labels is not None
        assert batch.inputs.source is not None
        first = F.normalize(model(replace(batch.inputs, source=None)), dim=-1)
        second = F.normalize(model(batch.inputs.source), dim=-1)
        return self.judged(first @ second.T, batch.labels, self.smoothing if model.training else 0.0)

    def judged(self, cosines: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> Loss:
        """The loss of cosines (B, B) between first and second texts. With `accuracy`, the share of pairs that are nearest."""
        own = torch.arange(len(labels), device=labels.device)
        same = (labels[:, None] == labels) & (own[:, None] != own)
        scores = (cosines / self.temperature).masked_fill(same, float("-inf"))
        each = F.cross_entropy(scores, own, reduction="none")
        if self.symmetric:
            each = (each + F.cross_entropy(scores.T, own, reduction="none")) / 2
        if smoothing:
            spread = -scores.log_softmax(1).masked_fill(same, 0.0).sum(1) / (~same).sum(1)
            each = (1 - smoothing) * each + smoothing * spread
        count = torch.tensor(float(len(labels)), device=labels.device)
        right = (scores.detach().argmax(1) == own).sum()
        return Loss(each.sum(), count, each.detach(), {"accuracy": (right, count)})
