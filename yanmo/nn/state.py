"""What models remember between tokens, held densely: N rows, each with room for `capacity` tokens.

    slots = DenseSlots(model.state(), rows=8, capacity=512)      # allocated once, written in place
    batch = slots.at([5, 2])                                     # the rows of one forward pass, sharing the storage
    model(inputs, batch)                                         # reads, and writes behind each row's own length
    batch.advance([7, 1])                                        # how many of the written tokens were real
    slots.reset([5])                                             # the request is over: the row is fresh again

Rows of different lengths share a batch: what a pass writes beyond a row's real tokens (padding) lies behind its length,
where the attention mask hides it and the next pass overwrites it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from yanmo.models.base import StateSpec


@dataclass
class _Storage:
    spec: Mapping[str, StateSpec]
    tensors: dict[str, Tensor]  # (N, capacity + 1, *shape) per token, (N, *shape) per row
    lengths: list[int]  # of every row, kept on the host, so that no pass waits for the device to learn them
    capacity: int
    device: torch.device
    version: int = 0  # grows when a length changes


class DenseSlots:
    """The Slots protocol over one tensor a name. A per-token tensor has one cell more than the capacity: what padding
    would write past the end goes there and is never read."""

    def __init__(
        self, spec: Mapping[str, StateSpec], rows: int, capacity: int, device: torch.device | str = "cpu"
    ):  # fmt: skip
        device = torch.device(device)
        with torch.inference_mode(False):  # so that passes inside and outside of inference mode may write
            tensors = {
                name: torch.full((rows, capacity + 1, *s.shape) if s.per_token else (rows, *s.shape), s.fill,
                                 dtype=s.dtype, device=device)
                for name, s in spec.items()
            }  # fmt: skip
        self._storage = _Storage(dict(spec), tensors, [0] * rows, capacity, device)
        self._choose(range(rows))

    def _choose(self, rows: Sequence[int]) -> None:
        self._ids = [int(row) for row in rows]
        first = self._ids[0] if self._ids else 0
        contiguous = self._ids == list(range(first, first + len(self._ids)))
        self._rows = torch.tensor(self._ids, dtype=torch.int64, device=self._storage.device)
        self._index: slice | Tensor = slice(first, first + len(self._ids)) if contiguous else self._rows
        self._written: dict[str, int] = {}
        self._version = -1

    # ------------------------------------------------------------------------------------------------ one pass

    @property
    def rows(self) -> Tensor:
        """(B,) int64: the rows' numbers in the storage."""
        return self._rows

    @property
    def lengths(self) -> Tensor:
        """(B,) int64: tokens remembered before this pass."""
        if self._version != self._storage.version:
            known = [self._storage.lengths[row] for row in self._ids]
            self._lengths = torch.tensor(known, dtype=torch.int64, device=self._storage.device)
            self._version = self._storage.version
        return self._lengths

    @property
    def longest(self) -> int:
        return max((self._storage.lengths[row] for row in self._ids), default=0)

    @property
    def even(self) -> bool:
        """Whether all rows have the same length."""
        return len({self._storage.lengths[row] for row in self._ids}) <= 1

    @property
    def capacity(self) -> int:
        """Tokens for which each row has room."""
        return self._storage.capacity

    def write(self, name: str, value: Tensor) -> None:
        """Per token: `value` (B, T, *shape) goes behind each row's length; per row: (B, *shape) replaces the old."""
        assert not value.requires_grad, "slots remember values without their gradients: run under torch.no_grad()"
        storage = self._storage
        tensor = storage.tensors[name]
        value = value.to(tensor.dtype)
        if not storage.spec[name].per_token:
            tensor[self._index] = value
            return
        count, lengths = value.shape[1], {storage.lengths[row] for row in self._ids}
        self._written[name] = count
        if len(lengths) == 1 and isinstance(self._index, slice) and (start := lengths.pop()) + count <= self.capacity:
            tensor[self._index, start : start + count] = value
        else:
            steps = torch.arange(count, device=storage.device)
            cells = (self.lengths[:, None] + steps).clamp_(max=self.capacity)
            tensor[self.rows[:, None], cells] = value

    def read(self, name: str) -> Tensor:
        """Per token: (B, S, *shape) where S = longest + the tokens written in this pass, at most the capacity; per row:
        (B, *shape). A view of the storage where the rows lie side by side."""
        storage = self._storage
        if not storage.spec[name].per_token:
            return storage.tensors[name][self._index]
        end = min(self.longest + self._written.get(name, 0), self.capacity)
        return storage.tensors[name][:, :end][self._index]

    # ------------------------------------------------------------------------------------------------ between passes

    def at(self, rows: Sequence[int]) -> Self:
        """The same storage seen through other rows (numbers in the whole storage), in the order given, none twice."""
        assert len(set(rows)) == len(rows), "a row cannot be in a batch twice"
        view = copy(self)
        view._choose(rows)
        return view

    def advance(self, counts: Sequence[int] | int) -> None:
        """After a pass: how many of the tokens it wrote are each row's own (the rest was padding)."""
        every = [counts] * len(self._ids) if isinstance(counts, int) else counts
        assert len(every) == len(self._ids), f"{len(every)} counts for {len(self._ids)} rows"
        for row, count in zip(self._ids, every):
            length = self._storage.lengths[row] + int(count)
            assert length <= self.capacity, f"row {row} would hold {length} tokens, there is room for {self.capacity}"
            self._storage.lengths[row] = length
        self._written.clear()
        self._storage.version += 1

    def length(self, row: int) -> int:
        """Tokens that one row of the storage remembers, without asking the device."""
        return self._storage.lengths[row]

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Makes rows fresh, by default those of this view. Their cells are refilled, so that nothing of one request (a
        value that is not finite, say) can reach another."""
        chosen = self._ids if rows is None else [int(row) for row in rows]
        index = torch.tensor(chosen, dtype=torch.int64, device=self._storage.device)
        for name, tensor in self._storage.tensors.items():
            tensor[index] = self._storage.spec[name].fill
        for row in chosen:
            self._storage.lengths[row] = 0
        self._storage.version += 1

    def branch(self, src: Sequence[int], dst: Sequence[int], since: Sequence[int]) -> None:
        """Row src[i] onto row dst[i], which remembers the same first `since[i]` tokens already; no row is both."""
        assert len(set(dst)) == len(dst), "a row cannot be a destination twice"
        assert not set(src) & set(dst), "a row cannot be a source and a destination"
        pairs = [(int(a), int(b), first, self._storage.lengths[int(a)]) for a, b, first in zip(src, dst, since, strict=True)]
        for name, tensor in self._storage.tensors.items():
            whole = not self._storage.spec[name].per_token
            for source, target, first, end in pairs:
                if whole:
                    tensor[target] = tensor[source]
                else:
                    tensor[target, first:end] = tensor[source, first:end]
        for _, target, _, end in pairs:
            self._storage.lengths[target] = end
        self._storage.version += 1

    def copy(self, src: Sequence[int], dst: Sequence[int]) -> None:
        """Row src[i] onto row dst[i], all at once: sources are read before any destination is written (beams swap)."""
        assert len(src) == len(dst), f"{len(src)} sources for {len(dst)} destinations"
        assert len(set(dst)) == len(dst), "a row cannot be a destination twice"
        lengths = [self._storage.lengths[int(row)] for row in src]
        taken = torch.tensor(list(src), dtype=torch.int64, device=self._storage.device)
        index = torch.tensor(list(dst), dtype=torch.int64, device=self._storage.device)
        end = max(lengths, default=0)
        for name, tensor in self._storage.tensors.items():
            if self._storage.spec[name].per_token:
                tensor[index, :end] = tensor[taken, :end]
            else:
                tensor[index] = tensor[taken]
        for row, length in zip(dst, lengths):
            self._storage.lengths[int(row)] = length
        self._storage.version += 1
