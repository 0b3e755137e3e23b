"""Preferences learned without a reward model: the policy is its own.

Under the Bradley-Terry model of preferences and a reward r, max E[r] - β KL(π ‖ reference) is reached by
π ∝ reference · exp(r / β); solved for r, the reward of an answer y to x is β ln π(y|x) / reference(y|x) and what only depends
on x (Rafailov et al. 2023, arXiv:2305.18290, equations 4 and 5). With h = ln π(chosen)/reference(chosen) - ln π(rejected)/
reference(rejected):

    sigmoid    -ln σ(β h)                                     DPO, equation 7; `smoothing` s: a share of the pairs is wrong,
                                                              -(1-s) ln σ(β h) - s ln σ(-β h) (Mitchell 2023)
    ipo        (h - 1/(2β))²                                  Azar et al. 2023, arXiv:2310.12036, equation 17: bounded, where
                                                              preferences are certain
    kto        1 - σ(β (lnπ/ref - z)) of the chosen, and 1 - σ(β (z - lnπ/ref)) of the rejected; z: what the policy has moved by
               on answers to other prompts, not below 0       Ethayarajh et al. 2024, arXiv:2402.01306, equation 8

All three look at differences alone: they fall as well where the rejected answer loses more than the chosen one loses, and the
mass of both goes to answers that nobody compared (Pal et al. 2024, arXiv:2402.13228). With `nll` a the chosen answer's own
loss is added, - a ln π(chosen) per token (Pang et al. 2024, arXiv:2404.19733, equation 1).

The reference's likelihoods are computed once, before training, and stand in the rows.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import logsigmoid

from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Loss
from yanmo.objectives.likelihoods import answered, likelihoods
from yanmo.objectives.preferences import Preferred, Preferring, mean, share


class Dpo(Preferring):
    """Prefer the chosen answers, as far from the reference as they are worth (DPO, IPO, KTO).

    `beta`: how much it costs to leave the reference; `form`: sigmoid (DPO), ipo or kto. `desirable`, `undesirable`: weights of
    the chosen and of the rejected answers in kto. `smoothing`, of sigmoid alone: the share of the pairs that is wrong. `nll`: the
    weight of the chosen answers' own loss, which keeps their likelihood up."""

    kinds: ClassVar[tuple[str, ...]] = ("causal",)

    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    form: Literal["sigmoid", "ipo", "kto"] = "sigmoid"
    nll: float = Field(default=0, ge=0, allow_inf_nan=False)
    desirable: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # None: 1
    undesirable: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _effective(self) -> Dpo:
        if self.form != "kto" and (self.desirable is not None or self.undesirable is not None):
            raise ValueError(str(text("'{names}' left out: only '{form}' has them", names="desirable, undesirable", form="kto")))
        if self.form != "sigmoid" and self.smoothing:
            raise ValueError(str(text("'{names}' left out: only '{form}' has them", names="smoothing", form="sigmoid")))
        return self

    @property
    def texts(self) -> int:
        return 3 if self.form == "kto" else 2

    def likelihoods(self, model: Any, batch: Preferred) -> Tensor:
        """(B, K) ln p of the answers."""
        found = likelihoods(model, *batch.stacked(2)).view(2, -1)
        if self.texts == 3:
            assert batch.other is not None
            assert batch.begins is not None
            with torch.no_grad():  # only measured by
                others = likelihoods(model, batch.other, batch.begins[:, 2])
            found = torch.cat([found, others[None]])
        return found.T

    def loss(self, model: Any, batch: Batch) -> Loss:
        """The mean over pairs. Without the reference's likelihoods the model as it is now is the reference: so it is before the
        first step, when a training is tried."""
        assert isinstance(batch, Preferred)
        found = self.likelihoods(model, batch)
        gains = found - (found.detach() if batch.reference is None else batch.reference)  # (B, K) ln π / reference
        ahead = gains[:, 0] - gains[:, 1]
        if self.form == "sigmoid":
            losses = -(1 - self.smoothing) * logsigmoid(self.beta * ahead) - self.smoothing * logsigmoid(-self.beta * ahead)
        elif self.form == "ipo":
            losses = (ahead - 1 / (2 * self.beta)) ** 2
        else:
            moved = gains[:, 2].mean().clamp(min=0).detach()
            good = 1 - torch.sigmoid(self.beta * (gains[:, 0] - moved))
            bad = 1 - torch.sigmoid(self.beta * (moved - gains[:, 1]))
            losses = (self.desirable or 1.0) * good + (self.undesirable or 1.0) * bad
        if self.nll:
            assert batch.begins is not None
            losses = losses - self.nll * found[:, 0] / answered(batch.inputs, batch.begins[:, 0]).sum(1)
        rewards = self.beta * gains.detach()
        figures = {"accuracy": share(ahead > 0), "margin": mean(rewards[:, 0] - rewards[:, 1]), "chosen": mean(rewards[:, 0]),
                   "rejected": mean(rewards[:, 1])}  # fmt: skip
        return Loss(losses.sum(), torch.tensor(float(len(losses)), device=losses.device), losses.detach(), figures)
