"""Normalisation of the last dimension: the parts that a recipe names, and the layers that they make.

    rms      x / √(mean x² + ε) · weight                     Zhang & Sennrich 2019, arXiv:1910.07467
    layer    (x - mean) / √(variance + ε) · weight + bias    Ba et al. 2016, arXiv:1607.06450
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.core.config import Part


class NormPart(Part):
    """A normalisation's settings."""

    eps: float = Field(default=1e-6, gt=0)

    def build(self, size: int) -> nn.Module:
        raise NotImplementedError


class Rms(NormPart):
    """Root-mean-square normalisation. With `offset` the factor is 1 + weight, as in Gemma."""

    type: str = "rms"
    offset: bool = False

    def build(self, size: int) -> RMSNorm:
        return RMSNorm(size, self.eps, self.offset)


class Layer(NormPart):
    """Layer normalisation, with a bias unless told otherwise."""

    type: str = "layer"
    eps: float = Field(default=1e-5, gt=0)
    bias: bool = True

    def build(self, size: int) -> nn.LayerNorm:
        return nn.LayerNorm(size, self.eps, bias=self.bias)


class RMSNorm(nn.Module):
    """Over the last dimension (`size`). On the heads of queries and keys it is QK-norm, which bounds the attention
    logits (Henry et al. 2020, arXiv:2010.04245)."""

    def __init__(self, size: int, eps: float, offset: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size) if offset else torch.ones(size))
        self.eps, self.offset = eps, offset

    def forward(self, x: Tensor) -> Tensor:
        if self.offset:
            return (F.rms_norm(x.float(), self.weight.shape, eps=self.eps) * (1.0 + self.weight.float())).to(x.dtype)
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)  # of one type: else torch takes its slow path
