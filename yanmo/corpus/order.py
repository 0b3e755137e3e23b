"""The order in which rows are seen: a permutation that is computed, not stored.

`at(epoch, index)` costs the same for any index, so a training run resumes at any step, on any number of processes, with
two integers as its whole state. A Feistel network over the smallest even number of bits that holds `count` permutes that
range; where it leaves [0, count) it is applied again until it comes back (cycle walking, Black and Rogaway 2002), less
than four times on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
MASK = (1 << 64) - 1


@dataclass(frozen=True)
class RowOrder:
    """A permutation of [0, count) for every epoch, chosen by `seed`."""

    count: int
    seed: int

    def at(self, epoch: int, index: int) -> int:
        """The row seen at place `index` of `epoch`."""
        if not 0 <= index < self.count:
            raise IndexError(f"index {index} of {self.count} rows")
        return int(self.rows(epoch, np.array([index]))[0])

    def rows(self, epoch: int, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """`at` for each of `indices` (any shape), as int64."""
        values = np.asarray(indices).astype(np.uint64)
        if values.size and int(values.max()) >= self.count:
            raise IndexError(f"index {int(values.max())} of {self.count} rows")
        keys = self._keys(epoch)
        shape, values = values.shape, values.reshape(-1)
        outside = np.ones(values.size, bool)
        while outside.any():
            values[outside] = self._feistel(values[outside], keys)
            outside[outside] = values[outside] >= np.uint64(self.count)
        return values.reshape(shape).astype(np.int64)

    def _keys(self, epoch: int) -> list[np.uint64]:
        state = (self.seed * 0x9E3779B97F4A7C15 + epoch * 0xD1B54A32D192ED03 + 1) & MASK
        keys = []
        for _ in range(ROUNDS):  # splitmix64
            state = (state + 0x9E3779B97F4A7C15) & MASK
            key = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & MASK
            keys.append(np.uint64(key ^ (key >> 31)))
        return keys

    def _feistel(self, values: NDArray[np.uint64], keys: list[np.uint64]) -> NDArray[np.uint64]:
        half = np.uint64(max(((self.count - 1).bit_length() + 1) // 2, 1))
        mask = np.uint64((1 << int(half)) - 1)
        left, right = values >> half, values & mask
        for key in keys:
            mixed = (right ^ key) * np.uint64(0xFF51AFD7ED558CCD)
            mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
            left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(29))) & mask)
        return (left << half) | right
