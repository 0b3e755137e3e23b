"""Which documents are held out: decided for each by the hash of its content, so that a corpus that grows keeps its split.

A document belongs to 'validation' where the hash of its id (that is, of its text as read) falls below the fraction:
equal texts always fall on the same side, near-duplicates are one document where `minhash_dedup` is among the steps, and
neither the seed nor the order of the files matters. A source with at least FEW documents none of which falls there
gives those with the smallest hashes, and so does a corpus that would otherwise have none at all. Files that the recipe
assigns (`path: {train: …, validation: …}`) stay where they are assigned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import xxhash

from yanmo.core.data import Document
from yanmo.core.paths import written
from yanmo.corpus.dataset import Dataset
from yanmo.corpus.source import Source

FEW = 5


def place(id_: str) -> int:
    """A document's place in [0, 2^64). Not its id's own bits: near-duplicates keep the smallest id, which would show."""
    return xxhash.xxh3_64_intdigest(b"split/" + id_.encode())


@dataclass(frozen=True)
class Split:
    fraction: float
    chosen: frozenset[int] = frozenset()  # places held out although they are not below the fraction
    fixed: dict[tuple[str, str], str] = field(default_factory=dict)  # (source, file) → split

    def of(self, doc: Document) -> str:
        """'train', 'validation' or, where the recipe assigns it, 'test'."""
        known = self.fixed.get((doc.source, doc.origin.file)) if self.fixed else None
        if known is not None:
            return known
        where = place(doc.id)
        return "validation" if where < self.fraction * 2**64 or where in self.chosen else "train"


def decide(docs: Dataset, fraction: float, sources: list[Source]) -> Split:
    """The split of the documents that are kept in `docs`."""
    fixed = {(source.name, written(file)): split
             for source in sources for split, file in source.located() if split is not None}  # fmt: skip
    plain = Split(fraction, fixed=fixed)
    assigned = frozenset(name for name, _ in fixed)
    if fraction == 0:
        return plain
    found = dict(docs.group(key=partial(_source, assigned), value=partial(_counts, plain), reduce=_sum).collect())
    lacking = frozenset(name for name, (count, held_out) in found.items() if count >= FEW and not held_out)
    if not lacking and found and not any(held_out for _, held_out in found.values()):
        lacking = frozenset(name for name, (count, _) in found.items() if count == max(c for c, _ in found.values()))
    if not lacking:
        return plain
    places: dict[str, set[int]] = {name: set() for name in lacking}
    for name, high, low in docs.map(partial(_places, lacking)).collect():
        places[name].add(high << 32 | low)
    chosen = set()
    for name, found_places in places.items():
        if len(found_places) > 1:  # one document alone is for training
            chosen |= set(sorted(found_places)[: max(1, round(fraction * found[name][0]))])
    return Split(fraction, frozenset(chosen), fixed)


def _source(assigned: frozenset[str], doc: Document) -> str | None:
    return doc.source if doc.rejection is None and doc.source not in assigned else None


def _counts(split: Split, doc: Document) -> tuple[int, int]:
    return 1, int(split.of(doc) == "validation")


def _sum(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]


def _places(lacking: frozenset[str], docs: Iterator[Document]) -> Iterator[tuple[Any, ...]]:
    for doc in docs:
        if doc.rejection is None and doc.source in lacking:
            where = place(doc.id)
            yield doc.source, where >> 32, where & 0xFFFFFFFF
