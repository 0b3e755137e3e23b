"""Tags that mark entities token by token, and the entities that they mean.

    scheme   a single token   first   inside   last   outside
    bio      B-X              B-X     I-X      I-X    O         IOB2 (Ramshaw & Marcus 1995; Tjong Kim Sang & Veenstra 1999)
    bioes    S-X              B-X     I-X      E-X    O         IOBES; BMES writes M for I, BILOU L for E and U for S

Two readings of a sequence. The strict one knows only what the scheme writes: an entity begins with B (or S) and, under
bioes, ends with E (or S); any other tag means nothing (seqeval's `mode='strict'`). The loose one is conlleval's: an entity
goes on as long as its type does, so that an I- without its B- begins one (IOB1 is written so). Models are decoded without
either, by the most probable of the sequences that the scheme can write (`best`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from yanmo.text.potentials import Potentials

Scheme = Literal["bio", "bioes"]
OUTSIDE = "O"
PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "M": "I", "L": "E", "U": "S"}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [first, end) that carry tags of one type; `opened` and `closed`: the prefixes of the first and the last."""

    first: int
    end: int
    label: str
    opened: str
    closed: str

    def proper(self, scheme: Scheme) -> bool:
        """Whether the scheme writes an entity so."""
        if scheme == "bio":
            return self.opened == "B"
        return (self.opened, self.closed) in (("B", "E"), ("S", "S"))


def names(labels: Sequence[str], scheme: Scheme) -> list[str]:
    """Every tag for these types of entities: O, then those of each type."""
    prefixes = "BI" if scheme == "bio" else "BIES"
    return [OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in prefixes)]


def parsed(tag: str) -> tuple[str, str] | None:
    """('B', 'PER') of B-PER or B_PER, M, L and U as I, E and S; ('O', '') of O; None for what is no tag."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if len(tag) < 3 or tag[1] not in "-_" or tag[0] not in PREFIXES:
        return None
    return PREFIXES[tag[0]], tag[2:]


def types(tags: Iterable[str]) -> list[str]:
    """The types of entities that tags speak of, in their order."""
    return list(dict.fromkeys(pair[1] for tag in tags if (pair := parsed(tag)) is not None and pair[1]))


def scheme_of(tags: Iterable[str]) -> Scheme:
    """bioes where a tag says that an entity ends or stands alone."""
    return "bioes" if any(pair is not None and pair[0] in "ES" for pair in map(parsed, tags)) else "bio"


def chunks(tags: Sequence[str]) -> list[Chunk]:
    """The loose reading. Every tag must be one (`parsed`)."""
    found: list[Chunk] = []
    start, label, opened, last = -1, "", "", ""
    for index, tag in enumerate([*tags, OUTSIDE]):
        pair = parsed(tag)
        assert pair is not None, f"{tag!r} is no tag"
        prefix, kind = pair
        if start >= 0 and (prefix in "OBS" or kind != label or last in "ES"):
            found.append(Chunk(start, index, label, opened, last))
            start = -1
        if prefix != OUTSIDE and start < 0:
            start, label, opened = index, kind, prefix
        last = prefix
    return found


def entities(tags: Sequence[str], scheme: Scheme) -> list[tuple[int, int, str]]:
    """The strict reading: (first token, end, type) of each entity that the scheme writes so."""
    return [(chunk.first, chunk.end, chunk.label) for chunk in chunks(tags) if chunk.proper(scheme)]


def written(spans: Iterable[tuple[int, int, str]], count: int, scheme: Scheme) -> list[str]:
    """The tags of `count` tokens with entities (first, end, type), which must not overlap."""
    tags = [OUTSIDE] * count
    for first, end, label in spans:
        assert 0 <= first < end <= count, f"an entity of tokens [{first}, {end}) of {count}"
        assert all(tag == OUTSIDE for tag in tags[first:end]), "entities overlap"
        tags[first:end] = [f"I-{label}"] * (end - first)
        tags[first] = f"B-{label}"
        if scheme == "bioes":
            tags[end - 1] = f"E-{label}" if end - first > 1 else f"S-{label}"
    return tags


def marked(places: Sequence[tuple[int, int]], spans: Iterable[tuple[int, int, str]], scheme: Scheme) -> list[str]:
    """The tags of tokens that stand for the characters `places` [start, end) of a text with entities (start, end, type) of
    its characters: a token belongs to the entity that it touches, wholly or in part. Where a token touches two, the first
    has it. A token that stands for nothing (start = end) belongs to none, unless both its neighbours do."""
    found, behind = [], 0
    for start, end, label in sorted(spans):
        first = behind
        while first < len(places) and (places[first][1] <= start or places[first][0] == places[first][1]):
            first += 1
        last = place = first
        while place < len(places) and (places[place][0] < end or places[place][0] == places[place][1]):
            last = place + 1 if places[place][0] < places[place][1] else last
            place += 1
        if last > first:
            behind = last
            found.append((first, last, label))
    return written(found, len(places), scheme)


@dataclass(frozen=True)
class Grammar:
    """Which tags may begin a text, follow one another (from row to column) and end a text, for tags (L,) in a model's order.

    An I- may follow B- and I- of its type alone, and E- ends what B- began. Tags of other making are taken as they are: a
    type without B- may begin with I- (IOB1), and a tag without a prefix goes on as long as it is repeated."""

    begins: NDArray[np.bool_]
    follows: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    @classmethod
    def of(cls, tags: Sequence[str]) -> Grammar:
        pairs = [parsed(tag) or ("I", tag) for tag in tags]
        known = set(pairs)
        count = len(pairs)
        begins, ends = np.ones(count, bool), np.ones(count, bool)
        follows = np.ones((count, count), bool)
        for j, (prefix, label) in enumerate(pairs):
            if prefix in "IE" and ("B", label) in known:
                begins[j] = False
                follows[:, j] = [pair in (("B", label), ("I", label)) for pair in pairs]
            if prefix in "BI" and ("E", label) in known:
                ends[j] = False
                follows[j] = [pair in (("I", label), ("E", label)) for pair in pairs]
        return cls(begins, follows, ends)

    @property
    def potentials(self) -> Potentials:
        """0 for what is allowed, -inf for what is not."""
        return Potentials(*(np.where(part, 0.0, -np.inf) for part in (self.begins, self.follows, self.ends)))

    def best(self, scores: Any) -> list[int]:
        """The sequence with the greatest sum of `scores` (T, L) that the grammar allows. Of equals the one whose last tags come
        first. A score that is not finite is the least of all."""
        return self.potentials.best(scores)
