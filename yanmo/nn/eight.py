"""Linear maps in float8 (Micikevicius et al. 2022, arXiv:2209.05433), for GPUs that multiply it: twice bfloat16's rate.

Inputs and weights are E4M3 (4 bits of exponent, 3 of mantissa, at most 448), gradients E5M2 (at most 57,344). Each tensor is
scaled by its largest magnitude, measured as it is used. Products are summed in float32 and given in bfloat16; the parameters
stay float32, and so do their gradients. All three products of a layer are float8's, forward and backward.

A layer whose sizes are no multiples of 16 stays as it is: the hardware multiplies no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2
MULTIPLE = 16


def scaled(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x as float8 and the float32 scalar to multiply it with again; a tensor of zeros has scale 1."""
    largest = x.detach().abs().amax().float()
    scale = torch.where(largest > 0, largest / torch.finfo(dtype).max, torch.ones_like(largest))
    return (x.float() / scale).to(dtype), scale


def multiply(a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, fast: bool) -> Tensor:
    """a (M, K) · b (K, N) → (M, N) bfloat16; the kernel wants a row by row and b column by column."""
    return torch._scaled_mm(a.contiguous(), b.t().contiguous().t(), scale_a=a_scale, scale_b=b_scale, out_dtype=torch.bfloat16,
                            use_fast_accum=fast)  # fmt: skip


class Eight(torch.autograd.Function):
    """x (N, I) · weightᵀ (I, O) → (N, O)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        small, small_scale = scaled(x, FORWARD)
        map_, map_scale = scaled(weight, FORWARD)
        ctx.save_for_backward(small, small_scale, map_, map_scale)
        ctx.dtypes = x.dtype, weight.dtype
        return multiply(small, map_.t(), small_scale, map_scale, True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        small, small_scale, map_, map_scale = ctx.saved_tensors
        slope, slope_scale = scaled(slopes[0], BACKWARD)
        to_x = multiply(slope, map_, slope_scale, map_scale, False)
        to_weight = multiply(slope.t(), small, slope_scale, small_scale, False)
        return to_x.to(ctx.dtypes[0]), to_weight.to(ctx.dtypes[1])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (…, I) · weightᵀ + bias → (…, O) bfloat16. Rows are filled up to a multiple of 16 with zeros."""
    flat = x.reshape(-1, x.shape[-1])
    short = -len(flat) % MULTIPLE
    if short:
        flat = torch.cat([flat, flat.new_zeros(short, flat.shape[1])])
    out: Tensor = Eight.apply(flat, weight)
    out = (out[: len(out) - short] if short else out).view(*x.shape[:-1], len(weight))
    return out if bias is None else out + bias.to(out.dtype)


def fits(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear and layer.in_features % MULTIPLE == 0 and layer.out_features % MULTIPLE == 0


@contextmanager
def eight_bits(regions: list[nn.Module]) -> Iterator[int]:
    """Within, the linear maps of these modules are float8's while they train; gives how many they are."""
    layers = [layer for region in regions for layer in region.modules() if fits(layer) and "forward" not in vars(layer)]
    for layer in layers:
        layer.forward = _mapped(layer, layer.forward)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.forward


def _mapped(layer: Any, forward: Any) -> Any:
    def call(x: Tensor) -> Tensor:
        if layer.training and torch.is_grad_enabled():
            return linear(x, layer.weight, layer.bias)
        return forward(x)

    return call
