"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864): position p turns the pair (x_i, x_{i+D/2}) of each
query and key by the angle p · θ^(−2i/D), so that their product depends on the distance alone. The pairs are the two
halves of a head, as in the published Llama and Qwen weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """The cosines and sines of every position below `context`; tables, so that a step only looks them up."""

    cos: Tensor  # (context, D/2) float32
    sin: Tensor

    def __init__(self, size: int, theta: float, context: int):
        super().__init__()
        frequencies = theta ** -(torch.arange(0, size, 2, dtype=torch.float32) / size)
        angles = torch.arange(context, dtype=torch.float32)[:, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, positions: Tensor | int) -> tuple[Tensor, Tensor]:
        """For positions (B, T) the tables (B, T, 1, D/2); for a number T those of 0 … T−1, (1, T, 1, D/2)."""
        if isinstance(positions, int):
            return self.cos[None, :positions, None], self.sin[None, :positions, None]
        return self.cos[positions].unsqueeze(2), self.sin[positions].unsqueeze(2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns x (B, T, H, D) by its positions' angles; the tables are (B or 1, T, 1, D/2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
