"""What a process holds for tensors that come and go: glibc's allocator, as far as large blocks are concerned.

Blocks of at least a threshold have pages of their own and give them back. Smaller ones lie in one heap: a new one takes the
smallest gap that is large enough (best fit), else the heap grows; neighbouring gaps become one; the heap shrinks at its end
alone. Tensors begin at aligned addresses, and glibc looks for a gap that has room for the alignment too (`_int_memalign`): the
gap that a tensor leaves does not fit the next of its size. The threshold grows with the blocks that are given back, to
32 MB (malloc(3), M_MMAP_THRESHOLD), unless MALLOC_MMAP_THRESHOLD_ fixes it.
"""

from __future__ import annotations

import os
from bisect import bisect_left, insort

VARIABLE = "MALLOC_MMAP_THRESHOLD_"
FIRST, LARGEST = 128 << 10, 32 << 20
HEADER, LEAST = 16, 32  # bytes of a block's head, and of the smallest gap
ALIGNED, HUGE, PAGE = 64, 2 << 20, 4096  # torch aligns to 64 bytes, and to pages from 2 MB on


class Heap:
    """`held`: bytes now; `peak`: at most since the last `mark`."""

    def __init__(self, fixed: int | None = None) -> None:
        given = os.environ.get(VARIABLE, "")
        self.fixed = fixed if fixed is not None else int(given) if given.isdigit() else None
        self.threshold = self.fixed or FIRST
        self.top = self.apart = self.held = self.peak = 0
        self._places: dict[int, tuple[int, int]] = {}  # key → (address, or -1, and size)
        self._gaps: list[tuple[int, int]] = []  # (size, address), sorted
        self._starts: dict[int, int] = {}  # gaps: address → size
        self._ends: dict[int, int] = {}  # gaps: where they end → address

    def mark(self) -> None:
        self.peak = self.held

    def take(self, key: int, size: int) -> None:
        aligned = PAGE if size >= HUGE else ALIGNED
        size = -(-max(size, 1) // 16) * 16 + HEADER
        if size + aligned + LEAST >= self.threshold:
            self.apart += -(-size // PAGE) * PAGE
            self._places[key] = (-1, -(-size // PAGE) * PAGE)
        else:
            self._places[key] = (self._fit(size, aligned), size)
        self._look()

    def give(self, key: int) -> None:
        address, size = self._places.pop(key)
        if address < 0:
            self.apart -= size
            if not self.fixed and self.threshold < size <= LARGEST:
                self.threshold = size
        else:
            self._release(address, size)
        self._look()

    def _fit(self, size: int, aligned: int) -> int:
        index = bisect_left(self._gaps, (size + aligned + LEAST, -1))
        if index == len(self._gaps):
            last = self._ends.get(self.top)
            begin = end = self.top
            if last is not None:
                begin = last
                self._drop(last)
        else:
            found, begin = self._gaps[index]
            end = begin + found
            self._drop(begin)
        address = -(-(begin + HEADER) // aligned) * aligned - HEADER
        if 0 < address - begin < LEAST:
            address += aligned
        if address > begin:
            self._add(begin, address - begin)
        if address + size < end:
            self._add(address + size, end - address - size)
        self.top = max(self.top, address + size)
        return address

    def _release(self, address: int, size: int) -> None:
        before = self._ends.get(address)
        if before is not None:
            size += self._starts[before]
            self._drop(before)
            address = before
        behind = self._starts.get(address + size)
        if behind is not None:
            self._drop(address + size)
            size += behind
        if address + size == self.top and size > 2 * self.threshold:
            self.top = address  # given back to the system
        else:
            self._add(address, size)

    def _add(self, address: int, size: int) -> None:
        insort(self._gaps, (size, address))
        self._starts[address], self._ends[address + size] = size, address

    def _drop(self, address: int) -> None:
        size = self._starts.pop(address)
        del self._ends[address + size]
        del self._gaps[bisect_left(self._gaps, (size, address))]

    def _look(self) -> None:
        self.held = self.top + self.apart
        self.peak = max(self.peak, self.held)
