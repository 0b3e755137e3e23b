"""The policy gradient that objectives with rollouts share: a clipped ratio times an advantage, less what leaving the reference
costs.

For each token of an answer, with A its advantage and ratio = π / π_old (Schulman et al. 2017, arXiv:1707.06347, equation 7):

    -min(ratio · A, clip(ratio, 1 - ε, 1 + ε) · A) + β · (reference/π - ln(reference/π) - 1) - c · entropy

The middle term is an estimate of KL(π ‖ reference) from the drawn token alone, never negative (Schulman 2020, "k3"; Shao et al.
2024, equation 4). Its gradient is that of KL(reference ‖ π), so that with the gradient's other part the fixed point of one
token's distribution is π = β · reference / (λ - r) with λ such that it sums to 1.

All of it is worked out where the logits are, chunk by chunk, so that a step never holds all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from yanmo.models.base import Output
from yanmo.objectives.base import Loss
from yanmo.objectives.likelihoods import read
from yanmo.objectives.rollouts import Rollouts


@dataclass(frozen=True)
class Pull:
    """What pulls at a token: `clip` (below, above) of the ratio or None, `kl` β, `entropy` c, the `temperature` of answers."""

    clip: tuple[float, float] | None = None
    kl: float = 0.0
    entropy: float = 0.0
    temperature: float = 1.0


def policy_gradient(model: Any, batch: Rollouts, pull: Pull) -> tuple[Loss, Output]:
    """The loss of answers, and what the model gave for them."""
    chosen = batch.answered
    targets = batch.inputs.tokens[:, 1:][chosen]
    assert batch.advantages is not None
    assert batch.shares is not None
    assert batch.counts is not None
    advantages, shares = batch.advantages[chosen], batch.shares[chosen]
    old = None if batch.old is None else batch.old[chosen]
    reference = None if batch.reference is None else batch.reference[chosen]

    def weighed(logits: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        logs = (logits.float() / pull.temperature).log_softmax(-1)
        found = logs.gather(-1, targets[positions][:, None]).squeeze(-1)
        before = found.detach() if old is None else old[positions]
        ratio, advantage = (found - before).exp(), advantages[positions]
        gain = ratio * advantage
        clipped = torch.zeros_like(advantage)
        if pull.clip is not None:
            below, above = pull.clip
            held = ratio.clamp(1 - below, 1 + above) * advantage
            clipped = (held < gain).detach().float()
            gain = torch.minimum(gain, held)
        cost = -gain
        apart = torch.zeros_like(advantage)
        if reference is not None:
            ahead = reference[positions] - found
            apart = ahead.exp() - ahead - 1
            cost = cost + pull.kl * apart if pull.kl else cost
        spread = logs if pull.entropy else logs.detach()
        entropy = -(spread.exp() * spread).sum(-1)
        cost = cost - pull.entropy * entropy if pull.entropy else cost
        return cost * shares[positions], apart.detach(), entropy.detach(), clipped

    output = model(read(batch.inputs), select=chosen, reduce=weighed)
    costs, apart, entropy, clipped = output.reduced
    rows = chosen.nonzero()[:, 0]
    sums = costs.new_zeros(len(chosen)).index_add(0, rows, costs)
    figures = {**shown(batch), "entropy": over(entropy)}
    if reference is not None:
        figures["kl"] = over(apart)
    if pull.clip is not None:
        figures["clipped"] = over(clipped)
    return Loss(sums.sum(), batch.counts.sum(), sums.detach() / batch.counts.clamp(min=1e-9), figures), output


def shown(batch: Rollouts) -> dict[str, tuple[Tensor, Tensor]]:
    """What answers were like: reward, length in tokens, the shares that were cut and whose group was worth the same."""
    assert batch.rewards is not None
    assert batch.cut is not None
    assert batch.flat is not None
    return {"reward": over(batch.rewards), "length": over(batch.lengths), "cut": over(batch.cut), "flat": over(batch.flat)}


def over(values: Tensor) -> tuple[Tensor, Tensor]:
    """A metric: the mean of values."""
    return values.detach().float().sum(), torch.tensor(float(len(values)), device=values.device)
