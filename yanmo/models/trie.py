"""An n-gram model's numbers, laid out for asking: a trie whose nodes are numbered level by level, so that a node's
children lie side by side and are found by binary search.

Node 0 stands for every n-gram that was never seen (share 0, γ 1, no children), token i is node i + 1. C nodes may be
contexts, N are all, V are of the first level.

    tokens (N,)     the last token of each n-gram            uint8, uint16 or uint32
    share  (N,)     what it adds to its context's mixture    float32
    first  (C + 1,) where each context's children begin      int32, or int64 from 2³¹ nodes on
    gamma  (C,)     the weight of the shorter context        float32
    unigram (V,)    p(w)                                     float32

So an n-gram of the highest order takes 5 to 8 bytes and each other one 8 more, in the file as in memory: a saved trie
is not read but mapped (`opened`), in milliseconds whatever its size, and processes that map it share its pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text
from yanmo.models.grams import Array
from yanmo.models.weights.folder import WEIGHTS
from yanmo.models.weights.header import read_header
from yanmo.models.weights.writing import write_tensors

NAMES = ("first", "gamma", "share", "tokens", "unigram")


@dataclass
class Trie:
    tokens: Array
    first: Array
    gamma: Array
    share: Array
    unigram: Array
    order: int
    ngrams: list[int]  # that were seen, of each length
    discounts: list[list[float]] | None = None  # D1, D2, D3+ of each length, where the model was counted here

    @property
    def vocabulary(self) -> int:
        return len(self.unigram)

    def find(self, nodes: Array, tokens: Array) -> Array:
        """The child by `tokens` of each of `nodes`, or node 0 where there is none."""
        low = self.first[nodes].astype(np.int64)
        size = self.first[nodes + 1] - low
        child = np.zeros(nodes.shape, np.int64)
        live = size > 0
        low, size, wanted = low[live], size[live], tokens[live].astype(self.tokens.dtype)
        widest = int(size.max(initial=0))
        while widest > 1:  # a binary search in all ranges at once: the half below the middle is skipped or kept
            half = size >> 1
            low += np.where(self.tokens[low + np.maximum(half, 1) - 1] < wanted, half, 0)
            size -= half
            widest -= widest >> 1
        child[live] = np.where(self.tokens[low] == wanted, low, 0)
        return child

    def paths(self, nodes: Array, length: int) -> Array:
        """The tokens (n, length) of n-grams of one length."""
        found = np.empty((len(nodes), length), np.int64)
        for place in reversed(range(length)):
            found[:, place] = self.tokens[nodes]
            nodes = np.searchsorted(self.first, nodes, "right") - 1
        return found

    def levels(self) -> list[tuple[int, int]]:
        """The nodes [begin, end) of each length."""
        begin, end, found = 1, 1 + self.vocabulary, []
        for _ in range(self.order):
            found.append((begin, end))
            begin, end = end, int(self.first[end]) if end < len(self.first) else len(self.tokens)
        return found

    def save(self, folder: Path) -> None:
        """`model.safetensors`, written array by array: what is mapped is never in memory as a whole."""
        write_tensors(folder, {name: torch.from_numpy(getattr(self, name)) for name in NAMES})

    @classmethod
    def opened(cls, folder: Path, order: int, vocabulary: int, ngrams: list[int],
               discounts: list[list[float]] | None) -> Trie:  # fmt: skip
        """Maps a saved one. CorruptError where the arrays do not make a trie of these sizes."""
        path = folder / WEIGHTS
        arrays = mapped(path)
        expected = text("the arrays of an n-gram model: {names}", names=", ".join(NAMES))
        if set(arrays) != set(NAMES):
            raise CorruptError(str(path), expected, ", ".join(sorted(arrays)[:8]))
        first, nodes = arrays["first"], len(arrays["tokens"])
        sizes = {"first": len(arrays["gamma"]) + 1, "share": nodes, "tokens": nodes, "unigram": vocabulary}
        for name, size in sizes.items():
            if arrays[name].shape != (size,):
                raise CorruptError(str(path), text("{size} numbers each in {names}", size=size, names=name),
                                   str(arrays[name].shape))  # fmt: skip
        kinds = {"first": "i", "gamma": "f", "share": "f", "tokens": "u", "unigram": "f"}
        for name, letter in kinds.items():
            if arrays[name].dtype.kind != letter:
                raise CorruptError(str(path), expected, f"{name} {arrays[name].dtype}")
        if len(first) < 2 or first[0] != 1 + vocabulary or first[-1] != nodes:
            raise CorruptError(str(path), text("children of {count} nodes", count=nodes), f"first {first[:1]} … {first[-1:]}")
        return cls(**arrays, order=order, ngrams=ngrams, discounts=discounts)


def mapped(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file, mapped: none is read before it is asked for. CorruptError for another file."""
    entries = read_header(path)
    with open(path, "rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        kind = torch.empty(0, dtype=entry.dtype).numpy().dtype
        some = entry.end > entry.start  # numpy cannot map no bytes
        found[name] = np.memmap(path, kind, "c", begin + entry.start, entry.shape) if some else np.zeros(entry.shape, kind)
    return found


def narrow(largest: int) -> Any:
    """The narrowest unsigned type that holds whole numbers up to `largest`."""
    return np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32
