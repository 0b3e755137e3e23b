"""Slots of one size for texts of any length (Xiao et al. 2023, StreamingLLM, arXiv:2309.17453, section 3.2): a row holds its
first S tokens, the sinks, and its latest W, the window, and forgets what lies between.

    place     0 … S−1      S … S+W−2                 S+W−1
              the sinks    the latest W − 1 tokens   the token that is read

Positions are counted within the cache: keys are remembered unturned and turned by their place in each pass, so that
however long a text is, no distance reaches S + W. A token sees the window at its true distances, and the sinks where
they stand: the token at place p ≥ S + W of a longer pass is, for the sinks, at place S + W − 1. So a text gives the same
whether it is read token by token or in long passes, and what a window over the whole text gives, as long as that has no
more than S + W tokens, or no sinks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from yanmo.nn.rope import rotate
from yanmo.nn.state import DenseSlots

if TYPE_CHECKING:
    from yanmo.models.base import StateSpec
    from yanmo.nn.position import Position, Tables


class RollingSlots(DenseSlots):
    """The Slots protocol in constant memory, for a model all of whose layers have this window and these sinks. `lengths`
    are the tokens that a row still remembers; `chunk`: how many tokens a pass brings at most."""

    def __init__(self, spec: Mapping[str, StateSpec], rows: int, *, window: int, sinks: int = 0, chunk: int = 1,
                 device: torch.device | str = "cpu"):  # fmt: skip
        super().__init__(spec, rows, sinks + window - 1 + chunk, device)
        self.window, self.sinks, self.chunk = window, sinks, chunk

    @property
    def reach(self) -> int:
        """S + W: no token stands at a place beyond."""
        return self.sinks + self.window

    def advance(self, counts: Sequence[int] | int) -> None:
        super().advance(counts)
        lengths, kept = self._storage.lengths, self.reach - 1
        over = [lengths[row] - kept for row in self._ids]
        if max(over, default=0) <= 0:
            return
        if min(over) == max(over):
            self._forget(self._index, over[0])
        else:
            for row, count in zip(self._ids, over):
                if count > 0:
                    self._forget(slice(row, row + 1), count)
        for row in self._ids:
            lengths[row] = min(lengths[row], kept)

    def _forget(self, rows: slice | Tensor, count: int) -> None:
        """The `count` oldest tokens behind the sinks; the others move to their places."""
        first, kept = self.sinks, self.reach - 1
        for name, tensor in self._storage.tensors.items():
            if self._storage.spec[name].per_token and kept > first:
                tensor[rows, first:kept] = tensor[rows, first + count : kept + count].clone()


class Rolling(NamedTuple):
    """How one pass over rolling slots turns its queries and the keys that it finds there."""

    keys: Tables | None  # (1, C, 1, D/2), by place; None: positions turn nothing
    queries: Tables | None  # (B, T, 1, D/2)
    far: Tables | None  # those of the queries as the sinks see them; None where it is the same
    sinks: int

    @classmethod
    def over(cls, slots: RollingSlots, position: Position, positions: Tensor) -> Rolling:
        """For new tokens at places `positions` (B, T)."""
        size = slots.longest + positions.shape[1]
        longest = min(size, slots.reach)
        cells = torch.arange(size, device=positions.device)[None]
        keys, queries = (position.tables(at, longest, local=True, furthest=size) for at in (cells, positions))
        beyond = slots.sinks > 0 and size > slots.reach
        far = position.tables(positions.clamp(max=slots.reach - 1), longest, local=True) if beyond else None
        return cls(keys, queries, far, slots.sinks)

    def turn(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """q (B, T, H, D) and k (B, C, K, D) turned. Where the sinks see the queries elsewhere, each is twice as long: one half
        of a query meets the sinks, whose other half is zero, and the other meets the rest, so that products stay products."""
        if self.keys is None or self.queries is None:
            return q, k
        k = rotate(k, *(table[:, : k.shape[1]] for table in self.keys))
        near = rotate(q, *self.queries)
        if self.far is None:
            return near, k
        sink = (torch.arange(k.shape[1], device=k.device) < self.sinks)[None, :, None, None]
        return torch.cat([rotate(q, *self.far), near], -1), torch.cat([k * sink, k * ~sink], -1)


def rolling_bias(slots: RollingSlots, position: Position, positions: Tensor) -> Tensor | None:
    """(B, H, T, C) what the position encoding adds to the scores, the sinks' as they see the queries."""
    size = slots.longest + positions.shape[1]
    bias = position.bias(positions, size)
    if bias is None or not slots.sinks or size <= slots.reach:
        return bias
    sinks = position.bias(positions.clamp(max=slots.reach - 1), slots.sinks)
    assert sinks is not None
    return torch.cat([sinks, bias[..., slots.sinks :]], -1)
