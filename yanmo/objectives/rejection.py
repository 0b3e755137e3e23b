"""Rejection sampling: of the model's own answers to a prompt the best is learned like any text (Touvron et al. 2023,
arXiv:2307.09288, section 3.2.2; Dong et al. 2023, arXiv:2304.06767)."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Loss
from yanmo.objectives.likelihoods import read
from yanmo.objectives.policy import over, shown
from yanmo.objectives.rollouts import Rolling, Rollouts
from yanmo.objectives.surprise import Surprise


class Rejection(Rolling):
    """Learn the best of several answers to each prompt.

    `least`: what the best one must be worth to be learned; of answers that are worth the same the first is the best."""

    least: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _several(self) -> Rejection:
        if self.group < 2:
            raise ValueError(str(text("'group' of at least 2: answers are compared with each other")))
        return self

    def prepared(self, model: Any, made: Rollouts, dreamt: bool = False) -> Rollouts:
        """The best answer of each group alone; `rewards` stays the mean of all."""
        assert made.rewards is not None
        rewards = made.rewards.view(-1, self.group)
        best, place = rewards.max(1)
        kept = made.some(torch.arange(len(rewards), device=rewards.device) * self.group + place)
        learned = torch.ones_like(best) if self.least is None else (best >= self.least).float()
        kept.rewards, kept.best = rewards.mean(1), best
        kept.shares = learned[:, None].expand(kept.answered.shape).contiguous()
        kept.counts = learned * kept.lengths
        if not float(kept.counts.sum()):  # nothing is good enough: a step that moves nothing
            kept.counts = torch.ones_like(best)
        return kept

    def loss(self, model: Any, batch: Batch) -> Loss:
        """-ln p of the best answers' tokens."""
        assert isinstance(batch, Rollouts)
        assert batch.shares is not None
        assert batch.counts is not None
        assert batch.best is not None
        chosen = batch.answered
        targets, shares = batch.inputs.tokens[:, 1:][chosen], batch.shares[chosen]

        def weighed(logits: Tensor, positions: Tensor) -> Tensor:
            return Surprise.apply(logits.float(), targets[positions], shares[positions])

        costs = model(read(batch.inputs), select=chosen, reduce=weighed).reduced
        sums = costs.new_zeros(len(chosen)).index_add(0, chosen.nonzero()[:, 0], costs)
        figures = {**shown(batch), "best": over(batch.best)}
        return Loss(sums.sum(), batch.counts.sum(), sums.detach() / batch.counts.clamp(min=1), figures)
