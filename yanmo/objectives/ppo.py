"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) with a value for each token.

    reward of a token    -β ln(π / reference), and at the answer's last token also what the answer is worth (Ouyang et al. 2022,
                         equation 2): the optimum is π ∝ reference · exp(reward / β)
    advantage            Σ λᵏ δ, δ = reward + value of the next token - value (Schulman et al. 2016, arXiv:1506.02438, equation
                         16, without discount), over the step brought to mean 0 and deviation 1
    loss                 the policy gradient (`policy.py`) + `value` · (value - return)² / 2

The values are a linear head on the policy's own hidden states; it is left behind when the model is saved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field, model_validator

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.critic import Critic
from yanmo.objectives.base import Batch, Loss
from yanmo.objectives.likelihoods import read
from yanmo.objectives.policy import Pull, over, policy_gradient
from yanmo.objectives.rollouts import Rolling, Rollouts


class Ppo(Rolling):
    """Learn from rewards with a learned value of each token as the measure (PPO).

    `kl`: what leaving the reference costs, in the reward; `clip`: how far the ratio counts; `smooth`: λ of the advantages;
    `value`: what the values' error counts; `entropy`: what keeping answers varied is worth; `whiten`: whether advantages are
    brought to mean 0 and deviation 1."""

    group: int = Field(default=4, ge=1)
    repeats: int = Field(default=4, ge=1)
    kl: float = Field(default=0.04, ge=0, allow_inf_nan=False)
    clip: float | None = Field(default=None, gt=0, lt=1)  # None: 0.2 with `repeats` above 1
    smooth: float = Field(default=0.95, ge=0, le=1)
    value: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    entropy: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    whiten: bool = True

    @model_validator(mode="after")
    def _effective(self) -> Ppo:
        if self.clip is not None and self.repeats == 1:
            raise ValueError(str(text("'repeats' above 1, as without it 'clip' has no effect")))
        return self

    @property
    def refers(self) -> bool:
        return self.kl > 0

    def trained(self, model: Any, rng: torch.Generator) -> Critic:
        return Critic(model)

    def policy(self, model: Any) -> Any:
        return model.backbone

    def prepared(self, model: Any, made: Rollouts, dreamt: bool = False) -> Rollouts:
        assert made.rewards is not None
        assert self._context is not None
        chosen, lengths = made.answered, made.lengths
        old = self.token_values(made, self.policy(model), dreamt)
        rewards = torch.zeros_like(old)
        if self.kl:
            made.reference = self.token_values(made, None if dreamt else self.referred, dreamt)
            rewards = -self.kl * (old - made.reference) * chosen
        last = chosen & (chosen.flip(1).cumsum(1).flip(1) == 1)
        rewards = rewards + last * made.rewards[:, None]
        values = torch.zeros_like(old)
        if not dreamt:
            with self._context.within():
                for rows in torch.arange(len(old), device=old.device).split(min(self._size, len(old))):
                    part = made.some(rows)
                    found = model.expected(read(part.inputs))
                    values[rows, : found.shape[1]] = found
        values = values * chosen
        advantages = generalised(rewards, values, chosen, self.smooth)
        made.returns = advantages + values
        if self.whiten:
            known = advantages[chosen]
            advantages = (advantages - known.mean()) / (known.std(unbiased=False) + 1e-8)
        made.advantages = advantages * chosen
        made.old = old if self.repeats > 1 else None
        made.shares = torch.ones_like(old)
        made.counts = lengths
        return made

    def loss(self, model: Any, batch: Batch) -> Loss:
        assert isinstance(batch, Rollouts)
        assert batch.returns is not None
        clip = None if self.repeats == 1 else (self.clip or 0.2,) * 2
        loss, output = policy_gradient(model, batch, Pull(clip, 0.0, self.entropy, self.temperature))
        chosen = batch.answered
        errors = (model.values(output.hidden)[chosen] - batch.returns[chosen]) ** 2 / 2
        rows = errors.new_zeros(len(chosen)).index_add(0, chosen.nonzero()[:, 0], errors.detach())
        assert batch.counts is not None
        return replace(loss, total=loss.total + self.value * errors.sum(), rows=loss.rows + self.value * rows / batch.counts,
                       metrics={**loss.metrics, "value_loss": over(errors)})  # fmt: skip

    def check(self, model: Any) -> None:
        super().check(model)
        context = getattr(model, "context", None)
        if context is not None and context <= self.max_tokens:
            raise RequestError("objective.max_tokens", text("fewer than the model's context of {context}", context=context),
                               str(self.max_tokens))  # fmt: skip


def generalised(rewards: torch.Tensor, values: torch.Tensor, chosen: torch.Tensor, smooth: float) -> torch.Tensor:
    """(B, T) generalised advantages of the `chosen` positions, which lie side by side in each row; 0 elsewhere."""
    found = torch.zeros_like(rewards)
    following, after = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])  # advantage and value of the next token
    for place in reversed(range(rewards.shape[1])):
        on = chosen[:, place].float()
        surprise = rewards[:, place] + after - values[:, place]
        following = on * (surprise + smooth * following)
        after = on * values[:, place]
        found[:, place] = following
    return found
