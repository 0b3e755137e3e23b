"""Who sees whom: boolean masks for `attend`, (1 or B, 1, T or 1, S), True where query t may look at key s.

    causal                  s ≤ t. Padding stands on the right, so no token ever sees it.
    not causal              the whole row without its padding.
    documents               and only what is of the same document (rows packed with several).
    prefix                  causal, but all see the first `prefix` positions (prefix language model, Raffel et al. 2020).
    window                  and only keys less than `window` away; the first `sinks` of the document stay visible (Xiao et
                            al. 2023, arXiv:2309.17453).
    order                   two streams of a permuted language model (Yang et al. 2019, XLNet, arXiv:1906.08237): a content
                            row sees ranks up to its own, a query row those below its own.

A position that would see nothing (padding, the query of the first rank) sees itself: its output is nobody's, and a softmax
over nothing is not a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from yanmo.models.base import Slots


def within(steps: int, device: torch.device, causal: bool, mask: Tensor | None, documents: Tensor | None,
           prefix: Tensor | None = None, window: int | None = None, sinks: int = 0) -> Tensor | None:  # fmt: skip
    """For one pass over whole rows of `steps` positions; None where all see all. Without `causal`, keys may be those of
    another text, of which `mask` (B, S) alone tells."""
    if not causal and documents is None and window is None:
        return None if mask is None else mask[:, None, None, :]
    at = torch.arange(steps, device=device)
    distance = at[:, None] - at
    visible = distance[None] >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)[None]
    if prefix is not None:
        visible = visible | (at[None, None, :] < prefix[:, None, None])
    if window is not None:
        near = distance.abs()[None] < window
        if sinks:
            index = at[None] if documents is None else positions_within(documents)
            near = near | (index < sinks)[:, None, :]
        visible = visible & near
    if documents is not None:
        visible = visible & (documents[:, :, None] == documents[:, None, :])
    if mask is not None and (not causal or prefix is not None):
        visible = visible & mask[:, None, :] | (distance == 0)[None]
    return visible[:, None]


def continued(slots: Slots, steps: int, size: int, window: int | None = None, sinks: int = 0) -> Tensor | None:
    """New position t of a row sees position s ≤ its length + t. None where that hides nothing: one new token behind rows
    of one length."""
    if window is not None and size <= window:
        window = None
    if steps == 1 and slots.even and window is None:
        return None
    lengths = slots.lengths
    ends = lengths[:, None] + torch.arange(steps, device=lengths.device)
    at = torch.arange(size, device=lengths.device)
    visible = at <= ends[:, :, None]
    if window is not None:
        visible = visible & ((ends[:, :, None] - at < window) | (at < sinks))
    return visible[:, None]


def ordered(order: Tensor, documents: Tensor | None, mask: Tensor | None) -> Tensor:
    """(2B, 1, T, T): the content rows, then the query rows, for ranks (B, T)."""
    mine, others = order[:, :, None], order[:, None, :]
    allowed = torch.ones_like(mine, dtype=torch.bool)
    if documents is not None:
        allowed = documents[:, :, None] == documents[:, None, :]
    if mask is not None:
        allowed = allowed & mask[:, None, :]
    content, query = (others <= mine) & allowed, (others < mine) & allowed
    itself = torch.eye(order.shape[1], dtype=torch.bool, device=order.device)
    empty = ~query.any(-1, keepdim=True)
    return torch.cat([content | itself, query | (itself & empty)])[:, None]


def positions_within(documents: Tensor) -> Tensor:
    """(B, T) int64: each position counted from the beginning of its document; documents lie side by side."""
    at = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return at - torch.where(begins, at, 0).cummax(1).values
