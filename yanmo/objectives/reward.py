"""A reward model: a scalar for a prompt with its answer, from which answer is preferred to which.

-ln σ(r(chosen) - r(rejected)), the likelihood of the preferences under Bradley and Terry (Ouyang et al. 2022,
arXiv:2203.02155, equation 1). Only differences are learned; `center` pulls the sum of both towards 0 (Eisenstein et al. 2023,
arXiv:2312.09244, equation 2), so that rewards of different prompts can be compared.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch.nn.functional import logsigmoid

from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Loss
from yanmo.objectives.preferences import Preferred, Preferring, mean, share


class RewardModel(Preferring):
    """Tell how good an answer is, from pairs of answers.

    `center`: how much the sum of a pair's rewards is pulled to 0."""

    center: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _effective(self) -> RewardModel:
        if self.smoothing:
            raise ValueError(str(text("'{names}' left out: it has no effect here", names="smoothing")))
        return self

    def loss(self, model: Any, batch: Batch) -> Loss:
        """`model`: a `Classifier` with one score."""
        assert isinstance(batch, Preferred)
        chosen, rejected = model(batch.stacked(2)[0]).view(2, -1)
        losses = -logsigmoid(chosen - rejected)
        if self.center:
            losses = losses + self.center * (chosen + rejected) ** 2
        figures = {"accuracy": share(chosen > rejected), "margin": mean(chosen - rejected), "chosen": mean(chosen),
                   "rejected": mean(rejected)}  # fmt: skip
        return Loss(losses.sum(), torch.tensor(float(len(losses)), device=losses.device), losses.detach(), figures)
