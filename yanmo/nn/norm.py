"""Normalisation of the last dimension: the parts that a recipe names, and the layers that they make.

    rms      x / √(mean x² + ε) · weight                     Zhang & Sennrich 2019, arXiv:1910.07467
    layer    (x - mean) / √(variance + ε) · weight + bias    Ba et al. 2016, arXiv:1607.06450
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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
            return rms_norm(x.float(), 1.0 + self.weight.float(), self.eps).to(x.dtype)
        return rms_norm(x, self.weight.to(x.dtype), self.eps)  # of one type: else torch takes its slow path


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """torch's, with a gradient of our own where its is a dozen passes over the tensor: float32 on a CPU, not compiled."""
    own = torch.is_grad_enabled() and x.dtype == torch.float32 and x.device.type == "cpu"
    if own and not torch.compiler.is_compiling():
        return _Rms.apply(x, weight, eps)
    return F.rms_norm(x, weight.shape, weight, eps)


class _Rms(torch.autograd.Function):
    """The gradient by torch's kernel for layer normalisation, in which a mean of 0 and this scale stand: it subtracts the mean
    of gradient · weight, which is added again. A sixth of the time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + eps).rsqrt()
        ctx.save_for_backward(x, weight, scale)
        return F.rms_norm(x, weight.shape, weight, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        slope = slopes[0].contiguous()
        taken, of_weight, _ = torch.ops.aten.native_layer_norm_backward(
            slope, x.contiguous(), weight.shape, torch.zeros_like(scale), scale, weight, None, [True, True, False]
        )
        return torch.addcmul(taken, scale, (slope @ weight / len(weight)).unsqueeze(-1)), of_weight, None
