"""n-grams as whole numbers, and more of them sorted than memory holds.

A `Packing` puts the tokens of an n-gram side by side in one 63-bit number and, where they do not fit, in 31-bit ones
behind it, so that comparing numbers compares tokens. A `Sorter` takes n-grams in any order and gives them back sorted,
equal ones side by side: what it cannot hold is written to disk as sorted runs, which are merged block by block
(external sorting: Knuth, The Art of Computer Programming, volume 3, section 5.4). A `Column` is a list of numbers that
grows on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
Words = list[Array]  # of n n-grams: (n,) int64, then (n,) uint32 each

BLOCK = 1 << 20  # n-grams worked on at once, where memory allows
LEAST = 1 << 10


class Packing:
    """n-grams of `order` tokens below `vocabulary`."""

    def __init__(self, order: int, vocabulary: int):
        self.order, self.bits = order, max((vocabulary - 1).bit_length(), 1)
        assert self.bits <= 31, f"a vocabulary of {vocabulary}"
        self.spans = []  # of each word, its first token and the one behind its last
        start = 0
        while start < order:
            end = min(order, start + (63 if start == 0 else 31) // self.bits)
            self.spans.append((start, end))
            start = end
        self.bytes = 8 + 4 * (len(self.spans) - 1)  # of one n-gram

    def pack(self, tokens: Sequence[Array]) -> Words:
        """From the first tokens (n,), the second ones …"""
        words = []
        for start, end in self.spans:
            word = tokens[start].astype(np.int64)
            for token in tokens[start + 1 : end]:
                word <<= self.bits
                word |= token
            words.append(word if start == 0 else word.astype(np.uint32))
        return words

    def token(self, words: Words, number: int) -> Array:
        """The tokens number `number` (n,) int64, counted from 0."""
        for word, (start, end) in zip(words, self.spans, strict=True):
            if number < end:
                token = word >> (self.bits * (end - 1 - number))
                return (token if number == start else token & ((1 << self.bits) - 1)).astype(np.int64)
        raise AssertionError(f"token {number} of {self.order}")

    def same(self, words: Words, length: int) -> Array:
        """(n - 1,) bool: where an n-gram begins with the same `length` tokens as the one before it."""
        found: Array | None = None
        for word, (start, end) in zip(words, self.spans, strict=True):
            if start >= length:
                break
            part = word if length >= end else word >> (self.bits * (end - length))
            equal = part[1:] == part[:-1]
            found = equal if found is None else found & equal
        assert found is not None
        return found


class Sorter:
    """n-grams in, n-grams sorted out. With a `folder` at most about `memory` bytes are held, the rest is there."""

    def __init__(self, packing: Packing, folder: Path | None = None, memory: int = 0):
        self.packing, self.folder, self.memory = packing, folder, memory
        cost = packing.bytes + (16 if len(packing.spans) == 1 else packing.bytes + 40)  # while it is sorted, an n-gram
        self.capacity = max(memory // cost, LEAST)
        self.held: list[Words] = []
        self.count = 0
        self.runs: list[int] = []  # n-grams of each run on disk

    def add(self, words: Words) -> None:
        size = len(words[0])
        if not size:
            return
        if self.folder is not None and self.count and self.count + size > self.capacity:
            self._spill()
        self.held.append(words)
        self.count += size

    def blocks(self) -> Iterator[Words]:
        """All of them, sorted, once. The disk is free again behind the last."""
        if not self.runs:
            whole = self._sorted()
            for start in range(0, self.count, BLOCK):
                yield [word[start : start + BLOCK] for word in whole]
            return
        if self.count:
            self._spill()
        yield from self._merged()
        for number in range(len(self.runs)):
            for place in range(len(self.packing.spans)):
                self._file(number, place).unlink()

    def _sorted(self) -> Words:
        if not self.held:
            return []
        words = [np.concatenate(parts) for parts in zip(*self.held)]
        self.held = []
        if len(words) == 1:
            words[0].sort()
            return words
        order = torch.from_numpy(words[-1].astype(np.int64)).sort(stable=True).indices
        for word in reversed(words[:-1]):  # from the last word to the first, each sort keeping what those before it did
            order = order[torch.from_numpy(word.astype(np.int64)[order.numpy()]).sort(stable=True).indices]
        index = order.numpy()
        return [word[index] for word in words]

    def _file(self, run: int, place: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.packing.order}-{run}-{place}.run"

    def _spill(self) -> None:
        for place, word in enumerate(self._sorted()):
            word.tofile(self._file(len(self.runs), place))
        self.runs.append(self.count)
        self.count = 0

    def _merged(self) -> Iterator[Words]:
        """The smallest last n-gram of what is read of each run bounds what can be given out: nothing below it is to come."""
        size = max(self.memory // (len(self.runs) * (3 * self.packing.bytes + 40)), LEAST // 8)
        heads = [self._read(run, 0, min(size, total)) for run, total in enumerate(self.runs)]
        read = [len(head[0]) for head in heads]
        while any(len(head[0]) for head in heads):
            open_ends = [tuple(int(word[-1]) for word in head)
                         for run, head in enumerate(heads) if read[run] < self.runs[run]]  # fmt: skip
            cuts = [_behind(head, min(open_ends)) if open_ends else len(head[0]) for head in heads]
            self.held = [[word[:cut] for word in head] for head, cut in zip(heads, cuts) if cut]
            yield self._joined()
            for run, cut in enumerate(cuts):
                rest = [word[cut:] for word in heads[run]]
                if len(rest[0]) < max(size // 2, 1) and read[run] < self.runs[run]:
                    more = self._read(run, read[run], min(size - len(rest[0]), self.runs[run] - read[run]))
                    read[run] += len(more[0])
                    rest = [np.concatenate(pair) for pair in zip(rest, more)]
                heads[run] = rest

    def _joined(self) -> Words:
        """What is held, sorted: of one word by a merge sort, which finds the runs that there are."""
        if len(self.packing.spans) > 1:
            return self._sorted()
        words = [np.concatenate([words[0] for words in self.held])]
        words[0].sort(kind="stable")
        self.held = []
        return words

    def _read(self, run: int, start: int, count: int) -> Words:
        types = [np.int64] + [np.uint32] * (len(self.packing.spans) - 1)
        return [np.fromfile(self._file(run, place), kind, count, offset=start * np.dtype(kind).itemsize)
                for place, kind in enumerate(types)]  # fmt: skip


def _behind(words: Words, bound: tuple[int, ...]) -> int:
    """How many of sorted n-grams are not larger than `bound`."""
    low, high = 0, len(words[0])
    for word, value in zip(words, bound, strict=True):
        part = word[low:high]
        low, high = low + int(np.searchsorted(part, value, "left")), low + int(np.searchsorted(part, value, "right"))
    return high


class Column:
    """Numbers of one type that are appended, and read when all are there; in memory, or with a `file`, on disk."""

    def __init__(self, dtype: Any, file: Path | None = None):
        self.dtype = np.dtype(dtype)
        self.path = file
        self.file = None if file is None else file.open("wb")
        self.parts: list[Array] = []
        self.length = 0

    def __len__(self) -> int:
        return self.length

    def append(self, values: Array) -> None:
        values = np.ascontiguousarray(values, self.dtype)
        self.length += len(values)
        if self.file is None:
            self.parts.append(values)
        else:
            values.tofile(self.file)

    def read(self, start: int, stop: int) -> Array:
        """The numbers [start, stop)."""
        if self.path is None:
            if len(self.parts) != 1:
                self.parts = [np.concatenate(self.parts)] if self.parts else [np.zeros(0, self.dtype)]
            return self.parts[0][start:stop]
        self._close()
        stop = min(stop, self.length)
        return np.fromfile(self.path, self.dtype, max(stop - start, 0), offset=start * self.dtype.itemsize)

    def whole(self) -> Array:
        """All of them; on disk, mapped into memory, and the file's name is given up: it goes when the last user does."""
        if self.path is None or not self.length:
            found = self.read(0, self.length)
            self.remove()
            return found
        self._close()
        found = np.memmap(self.path, self.dtype, "c")
        self.remove()
        return found

    def remove(self) -> None:
        self._close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
