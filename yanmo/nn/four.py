"""A frozen linear map in four bits a weight: NF4 with double quantisation (Dettmers et al. 2023, QLoRA, arXiv:2305.14314).

Weights of a trained network are about normal. A block of 64 of them is divided by its largest magnitude and each is set to
the nearest of 16 values, the quantiles of a normal distribution with a zero among them (appendix E). The blocks' magnitudes,
less their mean, are kept in 8-bit floats (E4M3), 256 of them with a scale of their own (section 3): 4.127 bits a weight.

The matrix is made again whenever it is needed and is never kept: it takes a layer's room for the time of one product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK, GROUP = 64, 256  # weights that share a magnitude, magnitudes that share a scale
EIGHT = torch.float8_e4m3fn
VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def quantised(weight: Tensor) -> dict[str, Tensor]:
    """`codes` (n/2,) uint8, two weights a byte, the first in the upper half; `magnitudes` (blocks,) float8, `scales`
    (groups,) and `mean` () float32. A weight whose count is no multiple of 64 is filled up with zeros."""
    flat = weight.detach().reshape(-1).float()
    flat = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    largest = flat.abs().amax(1)
    mean = largest.mean()
    rest = F.pad(largest - mean, (0, -len(largest) % GROUP)).view(-1, GROUP)
    scales = rest.abs().amax(1) / torch.finfo(EIGHT).max
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    magnitudes = (rest / scales[:, None]).to(EIGHT).view(-1)[: len(largest)].clone()
    kept = _magnitudes(magnitudes, scales, mean)  # what a block is divided by is what it is multiplied with again
    near = torch.tensor(VALUES, device=flat.device)
    borders = (near[1:] + near[:-1]) / 2
    codes = torch.bucketize(flat / kept.clamp(min=1e-30)[:, None], borders).to(torch.uint8).view(-1, 2)
    return {"codes": codes[:, 0] << 4 | codes[:, 1], "magnitudes": magnitudes, "scales": scales, "mean": mean}


def _magnitudes(magnitudes: Tensor, scales: Tensor, mean: Tensor) -> Tensor:
    """(blocks,) float32."""
    short = -len(magnitudes) % GROUP
    whole = F.pad(magnitudes.float(), (0, short)).view(-1, GROUP) * scales[:, None]
    return whole.view(-1)[: len(magnitudes)] + mean


class FourLinear(nn.Module):
    """A linear map (I → O) whose matrix is kept in four bits and is not trained. `weight` makes it, float32 (O, I); `bias` is
    kept as it was. `pieces`: the rows of the maps that lie side by side in it."""

    codes: Tensor
    magnitudes: Tensor
    scales: Tensor
    mean: Tensor
    pairs: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None, pieces: tuple[int, ...] = ()):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.pieces = pieces or (self.out_features,)
        for name, value in quantised(weight).items():
            self.register_buffer(name, value, persistent=False)
        values = torch.tensor(VALUES, device=weight.device)
        pairs = torch.stack([values.repeat_interleave(16), values.repeat(16)], 1)  # (256, 2): what a byte stands for
        self.register_buffer("pairs", pairs, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    @property
    def weight(self) -> Tensor:
        blocks = self.pairs[self.codes.int()].view(-1, BLOCK) * _magnitudes(self.magnitudes, self.scales, self.mean)[:, None]
        return blocks.view(-1)[: self.out_features * self.in_features].view(self.out_features, self.in_features)

    @property
    def bits(self) -> float:
        """Bits a weight, everything counted."""
        held = sum(x.numel() * x.element_size() for x in (self.codes, self.magnitudes, self.scales, self.mean))
        return 8 * held / (self.out_features * self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return Remade.apply(x, self, self.bias)


class Remade(torch.autograd.Function):
    """x Wᵀ + bias, W made again in the backward pass instead of being kept for it."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: FourLinear, bias: Tensor | None) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        ctx.layer, ctx.given, ctx.dtype = layer, x.dtype, dtype
        with torch.autocast(device, enabled=False):
            return F.linear(x.to(dtype), layer.weight.to(dtype), None if bias is None else bias.to(dtype))

    @staticmethod
    def backward(ctx, *slopes: Tensor):
        with torch.autocast(slopes[0].device.type, enabled=False):
            return (slopes[0].to(ctx.dtype) @ ctx.layer.weight.to(ctx.dtype)).to(ctx.given), None, None
