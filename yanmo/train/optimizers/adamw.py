"""AdamW, by torch's own kernels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from yanmo.train.optimizers.base import Live, OneRate, Share, implementation


class AdamW(OneRate):
    """Loshchilov and Hutter 2019: Adam with decoupled weight decay (on matrices, embedding and head alone).

    `lr` None: 4e-3 at width 256, scaled by 1/sqrt(width), as wider models take smaller steps."""

    betas: tuple[Share, Share] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)

    base: ClassVar[float] = 4e-3

    def live(self, groups: list[dict[str, Any]], model: nn.Module) -> Live:
        return LiveAdamW(groups, betas=self.betas, eps=self.eps, **implementation(model))


class LiveAdamW(Live, torch.optim.AdamW):
    pass
