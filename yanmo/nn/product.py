"""x · weightᵀ + bias, by the kernel that suits how the weight lies in memory.

With few rows a product's time is the time of reading the weight. torch's own (MKL) packs it first, and so reads and writes it
once more; oneDNN, given a weight that lies column by column, does not: for 2 to 64 rows it takes 0.5 to 0.8 of the time
(matrices of 1536 × 512 that no cache holds, one thread of an AVX-512 machine). One row is MKL's again, in either layout.
Inference chooses the layout (inference/layout.py); a weight that lies row by row, as in training, is torch's.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (…, I), weight (O, I), bias (O,) → (…, O); oneDNN's is float32 on a CPU, without gradients."""
    if weight.is_contiguous() or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    return multiply(x, weight, weight, bias) if weight.stride() == (1, len(weight)) else F.linear(x, weight, bias)


def multiply(x: Tensor, weight: Tensor, prepared: Tensor, bias: Tensor | None) -> Tensor:
    """The same; several rows by oneDNN with `prepared`, the weight in another layout."""
    one, plain = x.numel() == weight.shape[1], x.dtype == torch.float32 and x.device.type == "cpu"
    if one or not plain or not ONEDNN or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, prepared, bias, "none", [], "")


class ColumnLinear(nn.Linear):
    """A linear layer whose weight lies column by column."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's own name
        return product(input, self.weight, self.bias)
