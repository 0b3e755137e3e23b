"""Dropout (Srivastava et al. 2014): each number is 0 with a probability, the others are divided by that of staying.

torch draws a float for every number, which on a CPU is one after the other and takes up to a fifth of the time of a small
model's training (LOG.md, 23 November 2026). Sixteen bits are enough to decide: four decisions of each 64 that are drawn. The
probability is thereby a multiple of 2^-16. Compiled code and GPUs have their own way, which is fast.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = 1 << 16  # of the probability


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """x with a `share` of its numbers 0 while training; from torch's own random numbers."""
    if not share or not training:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, share, training)
    dropped = min(max(round(share * STEPS), 1), STEPS - 1)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[: x.numel()]
    kept = (bits >= dropped - STEPS // 2).view(x.shape)
    return x * kept.to(x.dtype).mul_(STEPS / (STEPS - dropped))
