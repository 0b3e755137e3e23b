"""One vector for a row of hidden states (B, T, D); `mask` (B, T) says which positions are tokens, None: all."""

from __future__ import annotations

import torch
from torch import Tensor


def last(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """(B, D) of each row's last token, which has read all of it."""
    if mask is None:
        return hidden[:, -1]
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1).clamp(min=1) - 1]


def mean(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """(B, D) over each row's tokens."""
    if mask is None:
        return hidden.mean(1)
    return (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
