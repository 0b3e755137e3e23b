"""A mixture of experts: each token goes to the few feed-forward layers that a router chooses for it, so that a model has many
more weights than one token is multiplied with (Shazeer et al. 2017, arXiv:1701.06538; as in Mixtral, arXiv:2401.04088).

Left alone, a router comes to prefer few experts. While training, a layer also gives a penalty that is 1 where all experts get
the same share and grows with the imbalance (Fedus et al. 2021, "Switch", arXiv:2101.03961, equation 4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.core.messages import text
from yanmo.nn.init import linear
from yanmo.nn.mlp import GatedMlp, MlpPart


class ExpertsPart(MlpPart):
    """`experts` gated feed-forward layers, `active` of them for each token; their outputs are weighed by the router's
    probabilities, among the chosen ones alone where `normalise`. `balance`: how much the penalty for an uneven use of the
    experts counts beside the loss."""

    type: str = "experts"
    experts: int = Field(default=8, ge=2)
    active: int = Field(default=2, ge=1)
    normalise: bool = True
    balance: float = Field(default=0.01, ge=0)

    gated: ClassVar[bool] = True
    activation: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(F.silu)

    @model_validator(mode="after")
    def _possible(self) -> ExpertsPart:
        if self.active > self.experts:
            message = text("'active' of at most the {count} experts, not {active}", count=self.experts, active=self.active)
            raise ValueError(str(message))
        return self

    def build(self, width: int, inner: int, bias: bool) -> Experts:
        assert not bias, "experts have no bias"
        return Experts(self, width, inner)

    def multiplied(self, width: int, inner: int) -> int:
        return width * (3 * inner * self.active + self.experts)


class Experts(nn.Module):
    """(B, T, D) → (B, T, D). `penalty`: of the last pass in training, a scalar."""

    def __init__(self, part: ExpertsPart, width: int, inner: int):
        super().__init__()
        self.part = part
        self.router = linear(width, part.experts)
        self.experts = nn.ModuleList(GatedMlp(width, inner, type(part).activation) for _ in range(part.experts))
        self.penalty: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        odds = self.router(flat).float().softmax(-1)  # (N, E)
        weights, chosen = odds.topk(self.part.active, dim=-1)  # (N, A)
        if self.training:
            share = F.one_hot(chosen, self.part.experts).sum((0, 1)) / chosen.numel()
            self.penalty = self.part.balance * self.part.experts * (share * odds.mean(0)).sum()
        if self.part.normalise:
            weights = weights / weights.sum(-1, keepdim=True)
        order = chosen.flatten().argsort(stable=True)  # tokens of one expert side by side
        token, counts = order // self.part.active, chosen.flatten().bincount(minlength=self.part.experts).tolist()
        shares = zip(self.experts, flat[token].split(counts), strict=True)
        made = [expert(share) for expert, share in shares if len(share) or self.training]  # each has a gradient, if of zeros
        weighed = torch.cat(made) * weights.flatten()[order, None]
        return torch.zeros_like(flat).index_add(0, token, weighed.to(flat.dtype)).view_as(x)
