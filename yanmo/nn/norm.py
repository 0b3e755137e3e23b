"""Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467): x / √(mean x² + ε) · weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Over the last dimension (`size`). On the heads of queries and keys it is QK-norm, which bounds the attention
    logits (Henry et al. 2020, arXiv:2010.04245)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)  # of one type: else torch takes its slow path
