"""Weights as decoding reads them best: float32 on a CPU, where a step's time is the time of reading its matrices.

Column by column: MKL multiplies a vector by such a matrix 1.2 to 2 times faster than by torch's rows, and oneDNN a few rows
1.2 to 2 times faster (nn/product.py). Only the strides change, no value and no shape; a table of embeddings that is also the
head is laid out alike, which costs a lookup a few microseconds a token.

Packed: 8 rows and more are another 1.0 to 1.3 times faster on weights packed for oneDNN's kernels. The packed copy takes the
weights' memory once more, so it is made for servers alone.

(Matrices of 512 × 1536 to 768 × 8192, one thread of an AVX-512 machine, best of many turns; `benchmarks.decode` and
`benchmarks.models` have the whole.) Results differ from the plain ones by the rounding of float32. For models that are not
trained any more: the packed copy does not follow its weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yanmo.nn.product import ONEDNN, ColumnLinear, multiply

HINT = 8  # rows that the packing is made for


class PackedLinear(nn.Linear):
    """A linear layer, its weight unchanged and a packed copy beside it, which multiplies two rows and more."""

    packed: Tensor

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's own name
        return multiply(input, self.weight, self.packed, self.bias)


def for_decoding(model: nn.Module, rows: int = 1) -> None:
    """Lays out the weights of every linear layer and of a tied head for batches of so many rows, in place; leaves what is on
    another device or of another type alone."""
    for module in model.modules():
        if type(module) is nn.Linear and _by_columns(module):
            module.__class__ = PackedLinear if rows > 1 and ONEDNN else ColumnLinear
            if isinstance(module, PackedLinear):
                with torch.no_grad():
                    module.packed = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach().contiguous(), HINT)
        tied = getattr(module, "head", module) is None and getattr(module, "embedding", None)
        if isinstance(tied, nn.Embedding):
            _by_columns(tied)


def _by_columns(layer: nn.Module) -> bool:
    weight = layer.get_parameter("weight")
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    weight.data = weight.data.t().contiguous().t()
    return True
