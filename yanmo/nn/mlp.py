"""The feed-forward layers of a Transformer block: (B, T, D) → (B, T, D) by way of a wider layer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.nn.init import linear


class SwiGLU(nn.Module):
    """down(silu(gate x) · up x) (Shazeer 2020, arXiv:2002.05202); gate and up are one matrix product."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.gate_up = linear(width, inner, inner)
        self.down = linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class SquaredReLU(nn.Module):
    """down(relu(up x)²) (So et al. 2021, "Primer", arXiv:2109.08668)."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.up = linear(width, inner)
        self.down = linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)).square())
