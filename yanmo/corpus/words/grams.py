"""A text as runs of normalised words, by which a passage is known again although it was copied carelessly.

A token is a word where words are spaced and a single character in Chinese and the other scripts that do not space them.
Case, width, accents, apostrophes, punctuation and blank space do not count. A gram is the shortest run of tokens that
begins at a given one and is long enough, where a word counts 1/`words` and an unspaced character 1/`characters`: 13 words
of English, 26 characters of Chinese, a mixture of both in mixed text. It depends on the tokens in it alone.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from yanmo.corpus.words.shingles import CHARACTER, GOLDEN, Hashes, classes, mixed, powers

NOTHING = 3  # a sign inside a word that is passed over, beside 0 (between tokens), WORD and CHARACTER
PASSED = "'’ʼ`´\u00ad\u200b\u200c\u200d\ufeff"
SLICE = 1 << 20

Places = NDArray[np.int64]


@cache
def folded() -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """For each code point the one it is compared as, and its kind."""
    same = np.arange(0x110000, dtype=np.uint32)
    kind = classes().copy()
    for point in [*range(0x3400), *range(0xA000, 0xAC00), *range(0xD7B0, 0xD800), *range(0xF900, 0x20000),
                  *range(0x2F800, 0x2FA20)]:  # fmt: skip
        character = chr(point)
        if unicodedata.category(character)[0] == "M":
            kind[point] = NOTHING
            continue
        plain = [c for c in unicodedata.normalize("NFKD", character.lower()) if unicodedata.category(c)[0] != "M"]
        if len(plain) == 1:
            same[point] = ord(plain[0].lower())
    kind[[ord(c) for c in PASSED]] = NOTHING
    kind[0xE0100:0xE01F0] = NOTHING
    signs = kind != NOTHING
    kind[signs] = classes()[same[signs]]
    return same, kind


@dataclass(frozen=True)
class Words:
    """The tokens of a text: their hashes, whether each is an unspaced character, and its span in code points."""

    hashes: Hashes
    unspaced: NDArray[np.bool_]
    starts: Places
    ends: Places

    def __len__(self) -> int:
        return self.hashes.size


def words(text: str) -> Words:
    """The tokens of `text`, in order."""
    found: list[Words] = []
    at = 0
    while at < len(text):
        end = at + SLICE
        if end < len(text):  # cut behind a blank; a slice without one is cut where it is
            border = max(text.rfind(" ", at, end), text.rfind("\n", at, end), text.rfind("。", at, end))
            end = border + 1 if border > at else end
        found.append(_slice(text[at:end], at))
        at = end
    if not found:
        return _slice("", 0)
    if len(found) == 1:
        return found[0]
    return Words(*(np.concatenate([getattr(part, name) for part in found]) for name in ("hashes", "unspaced", "starts", "ends")))


def _slice(text: str, at: int) -> Words:
    same, kinds = folded()
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = kinds[points]
    places = np.flatnonzero(kind != NOTHING)
    kind = kind[places]
    inside = np.flatnonzero(kind)
    if inside.size == 0:
        none = np.zeros(0, np.int64)
        return Words(none.astype(np.uint64), none.astype(bool), none, none)
    kind = kind[inside]
    begins = np.ones(inside.size, bool)
    begins[1:] = (np.diff(inside) > 1) | (kind[1:] == CHARACTER) | (kind[:-1] == CHARACTER)
    starts = np.flatnonzero(begins)
    lengths = np.diff(np.append(starts, inside.size))
    place = np.arange(inside.size) - np.repeat(starts, lengths)
    where = places[inside]
    letters = mixed((same[points[where]] + np.uint64(1) | place.astype(np.uint64) << np.uint64(32)) * GOLDEN)
    hashes = mixed(np.add.reduceat(letters, starts))
    return Words(hashes, kind[starts] == CHARACTER, where[starts] + at, where[starts + lengths - 1] + 1 + at)


class Runs:
    """Hashes of any runs of a text's tokens, each worked out of two sums."""

    def __init__(self, found: Words):
        self.factors, self.inverses = powers(len(found))
        self.sums = np.zeros(len(found) + 1, np.uint64)
        np.cumsum(found.hashes * self.factors, out=self.sums[1:])

    def hashes(self, starts: Places, ends: Places) -> Hashes:
        """The hash of each run [starts[i], ends[i]), the same wherever equal tokens follow each other."""
        runs = (self.sums[ends] - self.sums[starts]) * self.inverses[starts]
        return mixed(runs + (ends - starts).astype(np.uint64) * GOLDEN)


def ends_of(found: Words, words_: int, characters: int, weight: int) -> Places:
    """For each token the place behind the shortest run from it that weighs `weight`, where a word weighs `characters` and an
    unspaced character `words_`; n + 1 where the text ends before."""
    weights = np.zeros(len(found) + 1, np.int64)
    np.cumsum(np.where(found.unspaced, words_, characters), out=weights[1:])
    return np.searchsorted(weights, weights[:-1] + weight)
