"""What evaluation sets and documents have in common: a table of the sets' grams, and the look-up of a document in it.

The table is made once in each process and holds 12 bytes for each gram (`grams.py`) of the evaluation items: a sorted
array of 64-bit hashes, and the item of each. A small bitmap in front of it answers for nearly all grams of an innocent
document. An item that is shorter than a gram but has at least `shortest` words is looked for as a whole; one that is
shorter still would be found everywhere, and is not covered.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from yanmo.corpus.copies.evaluation_set import Item
from yanmo.corpus.words.grams import Hashes, Places, Runs, Words, ends_of, words

Numbers = NDArray[np.int32]


@dataclass(frozen=True)
class Length:
    """How long a gram is: in words, in unspaced characters, and the words of the shortest item that is looked for."""

    words: int
    characters: int
    shortest: int

    @property
    def gram(self) -> int:
        return self.words * self.characters

    @property
    def seed(self) -> int:
        return self.shortest * self.characters


@dataclass
class Coverage:
    """Of one set: how many items there are, how many are looked for by grams and as a whole; the names of the others."""

    items: int = 0
    grams: int = 0
    whole: int = 0
    unreadable: int = 0
    too_short: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Hit:
    """`item`: its number in `Table.names`; [start, end): where it stands, in code points."""

    item: int
    start: int
    end: int


class Table:
    """The grams of `items`."""

    def __init__(self, items: Iterable[Item], length: Length):
        self.length, self.names = length, list[str]()
        self.coverage: dict[str, Coverage] = {}
        grams, whole = _Column(), list[tuple[int, int, int, int]]()
        for number, item in enumerate(items):
            self.names.append(f"{item.set}:{item.id}")
            ways = [self._add(number, passage, grams, whole) for passage in item.passages]
            about = self.coverage.setdefault(item.set, Coverage())
            about.items += 1
            about.unreadable += not item.passages
            about.grams += "grams" in ways
            about.whole += "grams" not in ways and "whole" in ways
            if item.passages and not {"grams", "whole"} & set(ways):
                about.too_short.append(item.id)
        self.grams, self.items = grams.sorted()
        self.sieve = Sieve(self.grams)
        whole = sorted(set(whole))  # seed, hash, tokens, item
        self.seeds = np.array([entry[0] for entry in whole], np.uint64)
        self.seed_sieve = Sieve(self.seeds)
        self.whole = whole

    def _add(self, number: int, passage: str, grams: _Column, whole: list[tuple[int, int, int, int]]) -> str:
        found = words(passage)
        starts, ends = self._runs(found, self.length.gram)
        if starts.size:
            grams.add(Runs(found).hashes(starts, ends), number)
            return "grams"
        starts, ends = self._runs(found, self.length.seed)
        if not starts.size or starts[0] > 0:
            return "too short"
        runs = Runs(found)
        seed = runs.hashes(starts[:1], ends[:1])
        everything = runs.hashes(np.zeros(1, np.int64), np.array([len(found)]))
        whole.append((int(seed[0]), int(everything[0]), len(found), number))
        return "whole"

    def _runs(self, found: Words, weight: int) -> tuple[Places, Places]:
        ends = ends_of(found, self.length.words, self.length.characters, weight)
        starts = np.flatnonzero(ends <= len(found))
        return starts, ends[starts]

    def hits(self, text: str) -> list[Hit]:
        """Where the items' grams stand in `text`, by place."""
        found = words(text)
        starts, ends = self._runs(found, self.length.gram)
        short = self._runs(found, self.length.seed) if self.whole else (starts[:0], ends[:0])
        if not starts.size and not short[0].size:
            return []
        runs = Runs(found)
        hits = []
        if starts.size and self.grams.size:
            hashes = runs.hashes(starts, ends)
            chosen, at = self.sieve.members(hashes, self.grams)
            where = found.starts[starts[chosen]].tolist(), found.ends[ends[chosen] - 1].tolist()
            hits += [Hit(item, first, last) for item, first, last in zip(self.items[at].tolist(), *where)]
        if short[0].size:
            hashes = runs.hashes(*short)
            chosen, at = self.seed_sieve.members(hashes, self.seeds)
            for place, first in zip(short[0][chosen].tolist(), at.tolist()):
                for seed, hashed, count, item in self.whole[first:]:
                    if seed != self.whole[first][0]:
                        break
                    if place + count > len(found):
                        continue
                    if int(runs.hashes(np.array([place]), np.array([place + count]))[0]) == hashed:
                        hits.append(Hit(item, int(found.starts[place]), int(found.ends[place + count - 1])))
        return sorted(hits, key=lambda hit: (hit.start, hit.end, hit.item))


class _Column:
    """Hashes and the number of the item of each, gathered in pieces."""

    def __init__(self) -> None:
        self.hashes: list[Hashes] = []
        self.numbers: list[Numbers] = []

    def add(self, hashes: Hashes, number: int) -> None:
        self.hashes.append(hashes)
        self.numbers.append(np.full(hashes.size, number, np.int32))

    def sorted(self) -> tuple[Hashes, Numbers]:
        """Each hash once, in order, with the first item that has it."""
        if not self.hashes:
            return np.zeros(0, np.uint64), np.zeros(0, np.int32)
        found, first = np.unique(np.concatenate(self.hashes), return_index=True)
        return found, np.concatenate(self.numbers)[first]


class Sieve:
    """A bitmap over the top bits of `members`: what is not in it is no member."""

    def __init__(self, members: Hashes):
        self.shift = np.uint64(64 - min(max((16 * members.size).bit_length(), 12), 26))
        self.bits = np.zeros(1 << (64 - int(self.shift)), bool)
        self.bits[members >> self.shift] = True

    def members(self, hashes: Hashes, members: Hashes) -> tuple[Places, Places]:
        """Which of `hashes` are members, and the place of each in the sorted `members`."""
        chosen = np.flatnonzero(self.bits[hashes >> self.shift])
        at = np.searchsorted(members, hashes[chosen])
        there = at < members.size
        there[there] = members[at[there]] == hashes[chosen[there]]
        return chosen[there], at[there]


def spans(hits: Sequence[Hit], text: str) -> list[tuple[int, int]]:
    """The code points that hits cover in `text`, with the punctuation behind them, as few spans as possible."""
    found: list[tuple[int, int]] = []
    for hit in hits:
        if found and hit.start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], hit.end))
        else:
            found.append((hit.start, hit.end))
    return [(start, _behind_punctuation(text, end)) for start, end in found]


def _behind_punctuation(text: str, at: int) -> int:
    while at < len(text) and unicodedata.category(text[at])[0] == "P":
        at += 1
    return at
