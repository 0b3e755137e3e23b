"""Weights as decoding reads them best: float32 on a CPU, where a step's time is the time of reading its matrices.

One row: MKL multiplies a vector by a matrix stored column by column 1.2 to 2 times faster than by torch's rows. Only the
strides change, no value and no shape.

Several rows: oneDNN on weights packed for its kernels is 1.4 to 2 times faster for 2 to 8 rows, and up to 1.3 times while
a prompt is read. The packed copy takes the weights' memory once more, so it is made for servers alone.

(Matrices of 768 × 2304 to 768 × 8192, one thread of an AVX-512 machine, best of many turns; `benchmarks.decode` has the
whole.) Results differ from the plain ones by the rounding of float32. For models that are not trained any more: the
packed copy does not follow its weights.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn

HINT = 8  # rows that the packing is made for


class PackedLinear(nn.Linear):
    """A linear layer, its weight unchanged and a packed copy beside it, which multiplies two rows and more."""

    packed: Tensor

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's own name
        one = input.numel() == self.in_features
        if one or torch.is_grad_enabled() or input.dtype != torch.float32 or input.device.type != "cpu":
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.packed, self.bias, "none", [], "")


def for_decoding(model: nn.Module, rows: int = 1) -> None:
    """Lays out the weights of every linear layer for batches of so many rows, in place; leaves what is on another device or
    of another type alone."""
    packs = rows > 1 and torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.device.type == "cpu" and module.weight.dtype == torch.float32:
            module.weight.data = module.weight.data.t().contiguous().t()
            if packs:
                module.__class__ = PackedLinear
                with torch.no_grad():
                    module.packed = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach().contiguous(), HINT)
