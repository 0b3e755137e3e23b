"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from yanmo.train.optimizers.base import Amount, Live, OneRate, Share


class Lion(OneRate):
    """Chen et al. 2023 (arXiv:2302.06675, algorithm 2): every weight moves by the same amount, the sign of its momentum.

    `lr` None: 1e-3 at width 256, a quarter of AdamW's, with four times its weight decay (the paper: a third to a tenth, and
    three to ten times)."""

    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: Amount = 0.4

    base: ClassVar[float] = 1e-3

    def live(self, groups: list[dict[str, Any]], model: nn.Module) -> Live:
        return LiveLion(groups, {"betas": self.betas})


class LiveLion(Live):
    def move(self) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            gradients, momenta = [p.grad for p in params], [self.state[p]["momentum"] for p in params]
            now, later = group["betas"]
            directions = torch._foreach_lerp(momenta, gradients, 1 - now)
            torch._foreach_sign_(directions)
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(params, directions, alpha=-group["lr"])
            torch._foreach_lerp_(momenta, gradients, 1 - later)
