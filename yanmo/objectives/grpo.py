"""Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300, equations 3 and 4): an answer's advantage is how much
more it is worth than the other answers to its prompt, so that no value model is needed.

    advantage    (r - mean of the group) / standard deviation of the group, the same for each token of the answer
    loss         the policy gradient (`policy.py`), each answer's mean over its tokens, the mean over answers

Dr. GRPO (Liu et al. 2025, arXiv:2503.20783) leaves out both divisions, which favour long wrong answers and prompts that are
nearly always or nearly never solved: `scale: false, average: none`. DAPO (Yu et al. 2025, arXiv:2503.14476) lets each token
count alike (`average: token`) and clips less above (`clip: [0.2, 0.28]`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Loss
from yanmo.objectives.policy import Pull, policy_gradient
from yanmo.objectives.rollouts import Rolling, Rollouts

CLIP = (0.2, 0.2)
LEAST = 1e-4  # added to a group's deviation


class Grpo(Rolling):
    """Learn from rewards by comparing a prompt's answers with each other (GRPO, Dr. GRPO, DAPO).

    `kl`: what leaving the reference costs; `clip`: how far the ratio counts, one number or (below, above), with `repeats` above
    1; `scale`: whether advantages are divided by the group's deviation; `average`: over an answer's tokens, over all tokens of
    the step, or none (all answers are divided by `max_tokens`); `entropy`: what keeping answers varied is worth."""

    kl: float = Field(default=0.04, ge=0, allow_inf_nan=False)
    clip: float | tuple[float, float] | None = None  # None: 0.2 with `repeats` above 1
    scale: bool = True
    average: Literal["answer", "token", "none"] = "answer"
    entropy: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @field_validator("clip")
    @classmethod
    def _bounds(cls, clip: Any) -> Any:
        below, above = clip if isinstance(clip, tuple) else (clip, clip)
        if clip is not None and not (0 < below < 1 and above > 0):
            raise ValueError(str(text("a share between 0 and 1")))
        return clip

    @model_validator(mode="after")
    def _effective(self) -> Grpo:
        if self.group < 2:
            raise ValueError(str(text("'group' of at least 2: answers are compared with each other")))
        if self.clip is not None and self.repeats == 1:
            raise ValueError(str(text("'repeats' above 1, as without it 'clip' has no effect")))
        return self

    @property
    def refers(self) -> bool:
        return self.kl > 0

    @property
    def pull(self) -> Pull:
        clip = None
        if self.repeats > 1:
            clip = self.clip if isinstance(self.clip, tuple) else (self.clip, self.clip) if self.clip else CLIP
        return Pull(clip, self.kl, self.entropy, self.temperature)

    def prepared(self, model: Any, made: Rollouts, dreamt: bool = False) -> Rollouts:
        assert made.rewards is not None
        rewards = made.rewards.view(-1, self.group)
        advantages = rewards - rewards.mean(1, keepdim=True)
        if self.scale:
            advantages = advantages / (rewards.std(1, keepdim=True) + LEAST)
        chosen, lengths = made.answered, made.lengths
        made.advantages = advantages.view(-1, 1).expand(chosen.shape).contiguous()
        each = {"answer": 1 / lengths, "token": torch.ones_like(lengths),
                "none": torch.full_like(lengths, 1 / self.max_tokens)}[self.average]  # fmt: skip
        made.shares = each[:, None].expand(chosen.shape).contiguous()
        made.counts = lengths if self.average == "token" else torch.ones_like(lengths)
        if self.repeats > 1:
            made.old = self.token_values(made, self.policy(model), dreamt)
        if self.kl:
            made.reference = self.token_values(made, None if dreamt else self.referred, dreamt)
        return made

    def loss(self, model: Any, batch: Batch) -> Loss:
        assert isinstance(batch, Rollouts)
        return policy_gradient(model, batch, self.pull)[0]

    def check(self, model: Any) -> None:
        super().check(model)
        context = getattr(model, "context", None)
        if context is not None and context <= self.max_tokens:
            raise RequestError("objective.max_tokens", text("fewer than the model's context of {context}", context=context),
                               str(self.max_tokens))  # fmt: skip
