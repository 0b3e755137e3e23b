"""Drops near-duplicates: MinHash signatures, locality-sensitive hashing, connected components.

The share of positions at which two signatures agree estimates the Jaccard similarity of the texts' shingle sets (Broder
1997). Signatures of 14 x 8 minima are cut into 14 bands; two documents with one equal band are neighbours, which at a
similarity s happens with probability 1 - (1 - s^8)^14: 0.05 at 0.5, 0.56 at 0.7, 0.92 at 0.8, 0.9996 at 0.9 (Leskovec,
Rajaraman and Ullman, ch. 3; the figures of FineWeb). Of each connected component the document with the smallest content
id stays; the others are dropped with its id as the value and their estimated similarity to it (within about 0.04) in
`meta`. Documents of fewer than five tokens have no shingle and are left alone.

The engine matches bands on disk. This process holds only the edges between documents that share a band: 80 bytes each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from yanmo.core.data import Document, Rejection
from yanmo.corpus.dataset import Dataset
from yanmo.corpus.step import Step
from yanmo.corpus.steps.components import components
from yanmo.corpus.steps.shingles import Hashes, mixed, shingles

CHUNK = 2048  # shingles whose permutations are worked out at once: 2 MB

Signed = tuple[int, str, bytes]  # order, id, signature
Member = tuple[str, int, int]  # id, order, how many it stands for


class MinhashDedup(Step):
    """`tokens` a shingle, `bands` of `rows` minima each; `seed` chooses the permutations."""

    type: str = "minhash_dedup"
    tokens: int = Field(default=5, ge=1, le=100)
    bands: int = Field(default=14, ge=1, le=256)
    rows: int = Field(default=8, ge=1, le=64)
    seed: int = Field(default=1, ge=0, lt=2**32)

    def apply(self, docs: Dataset) -> Dataset:
        signed = docs.map(self.sign).persist()
        banded = signed.map(self.cut)
        firsts = banded.group(key=first_of, value=member, reduce=smallest).map(shared)
        losers = list(components(banded.join(firsts, key=first_of).map(edges).collect()))
        if not losers:
            return docs
        winners = {winner: 1 for _, winner, _ in losers}
        kept = signed.join(winners.items(), key=first_of).map(matched)  # (order, signature)
        pairs = signed.join(((loser, (winner, id_)) for loser, winner, id_ in losers), key=first_of).map(paired)
        verdicts = pairs.join(kept, key=first_of).map(self.compare)  # (order, (id of the kept one, similarity))
        return docs.join(verdicts, key=order_of).map(self.flag)

    def signature(self, text: str) -> NDArray[np.uint32] | None:
        """(bands * rows,) minima of the text's shingles under as many permutations; None where it has no shingle."""
        return minima(shingles(text, self.tokens), self.bands * self.rows, self.seed)

    def sign(self, docs: Iterator[Document]) -> Iterator[Signed]:
        for doc in docs:
            signature = self.signature(doc.text) if doc.rejection is None else None
            if signature is not None:
                yield doc.order, doc.id, signature.tobytes()

    def cut(self, rows: Iterator[Signed]) -> Iterator[tuple[bytes, str, int]]:
        """A row for each band: (its number and 64-bit hash, id, order)."""
        weights = np.arange(1, self.rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
        for order, id_, signature in rows:
            values = np.frombuffer(signature, np.uint32).reshape(self.bands, self.rows).astype(np.uint64)
            hashes = mixed((mixed(values) * weights).sum(axis=1, dtype=np.uint64))
            for band, hashed in enumerate(hashes.tolist()):
                yield bytes((band,)) + hashed.to_bytes(8, "big"), id_, order

    def compare(self, rows: Iterator[tuple[tuple, bytes]]) -> Iterator[tuple[int, tuple[str, float]]]:
        for (_, loser, id_, signature), other in rows:
            same = np.frombuffer(signature, np.uint32) == np.frombuffer(other, np.uint32)
            yield loser, (id_, round(float(same.mean()), 4))

    def flag(self, rows: Iterator[tuple[Document, tuple[str, float] | None]]) -> Iterator[Document]:
        for doc, verdict in rows:
            if verdict is not None:
                doc.rejection = Rejection(self.type, "near_duplicate", verdict[0])
                doc.meta = {**doc.meta, "similarity": verdict[1]}
            yield doc


@cache
def permutations(count: int, seed: int) -> tuple[Hashes, Hashes]:
    """Factors (odd) and offsets of `count` hash functions x → (a x + b mod 2^64) >> 32 (Dietzfelbinger 1997)."""
    state = mixed(np.arange(2 * count, dtype=np.uint64) + np.uint64(seed << 32) + np.uint64(0x9E3779B97F4A7C15))
    return state[:count] | np.uint64(1), state[count:]


def minima(hashes: Hashes, count: int, seed: int) -> NDArray[np.uint32] | None:
    if hashes.size == 0:
        return None
    a, b = permutations(count, seed)
    lowest = np.full(count, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, hashes.size, CHUNK):
        permuted = a[:, None] * hashes[start : start + CHUNK]
        permuted += b[:, None]
        np.minimum(lowest, permuted.min(axis=1), out=lowest)
    return (lowest >> np.uint64(32)).astype("<u4")


def first_of(row: tuple) -> Any:
    return row[0]


def order_of(doc: Document) -> int:
    return doc.order


def member(row: tuple[bytes, str, int]) -> Member:
    return row[1], row[2], 1


def smallest(a: Member, b: Member) -> Member:
    first = a if a[:2] <= b[:2] else b
    return first[0], first[1], a[2] + b[2]


def shared(rows: Iterator[tuple[bytes, Member]]) -> Iterator[tuple[bytes, Member]]:
    return (row for row in rows if row[1][2] > 1)


def edges(rows: Iterator[tuple[tuple[bytes, str, int], Member | None]]) -> Iterator[tuple[int, str, int, str]]:
    """(order, id, order of a neighbour, its id), once for each neighbour of a document: its bands follow each other."""
    current, known = -1, set[int]()
    for (_, id_, order), first in rows:
        if order != current:
            current, known = order, set()
        if first is not None and first[1] != order and first[1] not in known:
            known.add(first[1])
            yield order, id_, first[1], first[0]


def matched(rows: Iterator[tuple[Signed, int | None]]) -> Iterator[tuple[int, bytes]]:
    return ((row[0], row[2]) for row, found in rows if found is not None)


def paired(rows: Iterator[tuple[Signed, tuple[int, str] | None]]) -> Iterator[tuple[int, int, str, bytes]]:
    """(order of the kept one, order, id of the kept one, signature) of each document to be dropped."""
    return ((found[0], row[0], found[1], row[2]) for row, found in rows if found is not None)
