"""Stochastic gradient descent with momentum, by torch's own kernels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import model_validator
from torch import nn

from yanmo.core.messages import text
from yanmo.train.optimizers.base import Amount, Live, OneRate, Share


class Sgd(OneRate):
    """Gradient descent with momentum, plain or Nesterov's (Sutskever et al. 2013).

    `lr` None: 0.15 at width 256, scaled by 1/sqrt(width). `weight_decay` is decoupled, as in the other optimizers; what torch
    calls by that name is `l2` here."""

    momentum: Share = 0.9
    nesterov: bool = True
    weight_decay: Amount = 0.0

    base: ClassVar[float] = 0.15

    @model_validator(mode="after")
    def _momentum(self) -> Sgd:
        if self.nesterov and not self.momentum and "nesterov" in self.model_fields_set:
            raise ValueError(str(text("a 'momentum' above 0, as without it 'nesterov' has no effect")))
        return self

    def live(self, groups: list[dict[str, Any]], model: nn.Module) -> Live:
        for group in groups:
            group |= {"decay": group["weight_decay"], "weight_decay": 0.0}
        return LiveSgd(groups, momentum=self.momentum, nesterov=self.nesterov and self.momentum > 0, foreach=True)


class LiveSgd(Live, torch.optim.SGD):
    def move(self) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if group["decay"] and params:
                torch._foreach_mul_(params, 1 - group["lr"] * group["decay"])
        super().move()
