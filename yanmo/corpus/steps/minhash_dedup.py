"""Drops near-duplicates: MinHash signatures, locality-sensitive hashing, connected components.

The share of positions at which two signatures agree estimates the Jaccard similarity of the texts' shingle sets (Broder
1997). Signatures of 14 x 8 minima are cut into 14 bands; two documents with one equal band are neighbours, which at a
similarity s happens with probability 1 - (1 - s^8)^14: 0.05 at 0.5, 0.56 at 0.7, 0.92 at 0.8, 0.9996 at 0.9 (Leskovec,
Rajaraman and Ullman, ch. 3; the figures of FineWeb). Of each connected component the document with the smallest content
id stays; the others are dropped with its id as the value and their estimated similarity to it (within about 0.04) in
`meta`. Documents of fewer than five tokens have no shingle and are left alone.

The engine brings the bands of a section together on disk, where a sort makes neighbours of equal ones. This process holds
only the edges between documents that share a band, 48 bytes each, and the places of those that are dropped.
Signatures are one row a document, so that what is found of one is brought to it by its place, without a search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice, pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from yanmo.core.data import Document, Rejection
from yanmo.corpus.copies.components import RECORD, components, neighbours
from yanmo.corpus.dataset import Concatenation, Dataset, by_place
from yanmo.corpus.step import Step
from yanmo.corpus.words.shingles import GOLDEN, Hashes, factors, mixed, shingles

TOGETHER = 1 << 15  # characters whose tokens are looked for at once
BLOCK = 1 << 17  # products of a shingle and a factor held at once: half a megabyte

BATCH = 4096  # documents whose bands are worked out at once
SECTION_SHIFT = np.uint64(64 - 8)  # records travel in 256 sections: 1.8 MB each for a million documents

HALF, ODD = np.uint64(32), np.uint32(1)

Signed = tuple[int, str, bytes]  # order, id, signature (empty where there is none)
Signature = NDArray[np.uint32]


class MinhashDedup(Step):
    """Keeps one of documents that are nearly the same, by MinHash.

    `tokens` a shingle, `bands` of `rows` minima each; `seed` chooses the permutations."""

    version: ClassVar[int] = 2

    type: str = "minhash_dedup"
    tokens: int = Field(default=5, ge=1, le=100)
    bands: int = Field(default=14, ge=1, le=256)
    rows: int = Field(default=8, ge=1, le=64)
    seed: int = Field(default=1, ge=0, lt=2**32)

    def apply(self, docs: Dataset) -> Dataset:
        signed = docs.map(self.sign).persist()
        banded = signed.map(self.cut, across=True).group(key=first_of, value=second_of, reduce=Concatenation())
        edges = (edges for _, edges in banded.map(neighbours).collect())
        winners = [(order, (id_, losers)) for order, id_, losers in components(edges)]
        if not winners:
            return docs
        models = signed.join(winners, key=by_place, how="inner").map(given)
        verdicts = signed.join(models, key=by_place, how="inner").map(compare)
        return docs.join(verdicts, key=by_place).map(self.flag)

    def signature(self, text: str) -> Signature | None:
        """(bands * rows,) minima of the text's shingles under as many permutations; None where it has no shingle."""
        return self.signatures([text])[0]

    def signatures(self, texts: Sequence[str]) -> list[Signature | None]:
        """The signature of each text, in less time than one by one where they are short."""
        return [minima(hashes, self.bands * self.rows, self.seed) for hashes in shingles(texts, self.tokens)]

    def sign(self, docs: Iterator[Document]) -> Iterator[Signed]:
        held: list[tuple[int, str, str]] = []
        size = 0
        for doc in docs:
            text = doc.text if doc.rejection is None else ""
            if size + len(text) >= TOGETHER:
                yield from self.together(held)
                held, size = [], 0
            held.append((doc.order, doc.id, text))
            size += len(text) + 1
        yield from self.together(held)

    def together(self, held: Sequence[tuple[int, str, str]]) -> Iterator[Signed]:
        found = self.signatures([text for _, _, text in held])
        for (order, id_, _), signature in zip(held, found):
            yield order, id_, b"" if signature is None else signature.tobytes()

    def cut(self, rows: Iterator[Signed]) -> Iterator[tuple[int, bytes]]:
        """The bands of many documents at once: (section of the hash, records of `components.RECORD` in it)."""
        weights = factors(self.rows, 31)
        own = mixed(np.arange(self.bands, dtype=np.uint64) + GOLDEN)  # equal minima in different bands are no match
        signed = (row for row in rows if row[2])
        while held := list(islice(signed, BATCH)):
            values = np.frombuffer(b"".join(signature for _, _, signature in held), "<u4").astype(np.uint64)
            values = values.reshape(len(held), self.bands, self.rows)
            records = np.empty((len(held), self.bands), RECORD)
            records["hash"] = mixed(np.einsum("dbr,r->db", values, weights) ^ own)
            ids = np.frombuffer(bytes.fromhex("".join(id_ for _, id_, _ in held)), ">u8").reshape(-1, 2)
            node = records["node"]
            node["order"] = np.array([order for order, _, _ in held])[:, None]
            node["high"], node["low"] = ids[:, :1], ids[:, 1:]
            flat = records.reshape(-1)
            sections = (flat["hash"] >> SECTION_SHIFT).astype(np.uint8)
            flat = flat[np.argsort(sections, kind="stable")]  # a radix sort, of bytes
            ends = np.cumsum(np.bincount(sections, minlength=256)).tolist()
            for section, (start, end) in enumerate(pairwise([0, *ends])):
                if start < end:
                    yield section, flat[start:end].tobytes()

    def flag(self, rows: Iterator[tuple[Document, tuple[str, float] | None]]) -> Iterator[Document]:
        for doc, verdict in rows:
            if verdict is not None:
                doc.rejection = Rejection(self.type, "near_duplicate", verdict[0])
                doc.meta = {**doc.meta, "similarity": verdict[1]}
            yield doc


@cache
def multipliers(count: int, seed: int) -> Signature:
    """(count,) odd numbers. x → a x mod 2^32 permutes the odd numbers below 2^32 for each odd a."""
    return (mixed(np.arange(count, dtype=np.uint64) + np.uint64(seed << 32) + GOLDEN) >> HALF).astype(np.uint32) | ODD


def minima(hashes: Hashes, count: int, seed: int) -> Signature | None:
    """(count,) the smallest of the hashes, each made an odd number of 32 bits, under each permutation."""
    if hashes.size == 0:
        return None
    multipliers_ = multipliers(count, seed)
    values = (hashes >> HALF).astype(np.uint32) | ODD
    step = max(BLOCK // count, 1)
    lowest = np.einsum("i,j->ij", multipliers_, values[:step]).min(axis=1)
    for start in range(step, values.size, step):
        np.minimum(lowest, np.einsum("i,j->ij", multipliers_, values[start : start + step]).min(axis=1), out=lowest)
    return lowest.astype("<u4", copy=False)


def first_of(row: tuple) -> Any:
    return row[0]


def second_of(row: tuple) -> Any:
    return row[1]


def given(rows: Iterator[tuple[Signed, tuple[str, bytes]]]) -> Iterator[tuple[int, tuple[str, bytes]]]:
    """(order of a dropped document, (id, signature) of the one that stays), as many times as it is needed."""
    for (_, _, signature), (id_, losers) in rows:
        for loser in np.frombuffer(losers, "<i8").tolist():
            yield loser, (id_, signature)


def compare(rows: Iterator[tuple[Signed, tuple[str, bytes]]]) -> Iterator[tuple[int, tuple[str, float]]]:
    """(order of a dropped document, (id of the one that stays, their similarity))"""
    while held := list(islice(rows, BATCH)):
        own, model = (
            np.frombuffer(b"".join(found), "<u4").reshape(len(held), -1)
            for found in ([signature for (_, _, signature), _ in held], [signature for _, (_, signature) in held])
        )
        shares = (own == model).mean(axis=1).tolist()
        for ((order, _, _), (id_, _)), share in zip(held, shares):
            yield order, (id_, round(share, 4))
