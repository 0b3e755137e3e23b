"""A text as exact tokens, and the few of their hashes by which equal passages find each other.

A token is what stands between blanks; where scripts are written without blanks (Chinese, Japanese, Thai …, see
`steps/shingles.py`) it is one character with the marks and the punctuation behind it. The blank space behind a token
belongs to it. So a passage of `length` tokens is that many English words or that many Chinese characters, it begins and
ends where a reader would cut, and never inside a word, a letter with its accents, or an emoji.

Winnowing (Schleimer, Wilkerson and Aiken 2003): of the hashes of all k tokens that follow each other, the smallest of
each w neighbours is a mark. Two passages of at least w + k - 1 equal tokens have an equal mark at the same place in them,
whatever stands around them; about 2 / (w + 1) of the tokens begin a mark.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yanmo.corpus.words.shingles import CHARACTER, GOLDEN, WORD, Hashes, classes, factors, mixed

MARK, SPACE, OPENING, JOINER = 3, 4, 5, 6  # beside WORD and CHARACTER, and 0 for other signs
SLICE = 1 << 20  # code points looked at together

Places = NDArray[np.int64]


class Tokens(NamedTuple):
    """For each of n tokens: where it begins, where the blank space behind it begins, its hash with and without that."""

    starts: Places
    ends: Places
    full: Hashes
    bare: Hashes


@cache
def kinds() -> NDArray[np.uint8]:
    """For each code point what it does to the borders of tokens."""
    table = classes().copy()
    for point in [*range(0x3400), *range(0xA000, 0xAC00), *range(0xD7B0, 0x20000)]:
        if 0xD800 <= point < 0xF900:
            continue
        category = unicodedata.category(chr(point))
        if chr(point).isspace():
            table[point] = SPACE
        elif category[0] == "M":
            table[point] = MARK
        elif category in ("Ps", "Pi"):
            table[point] = OPENING
    table[0xE0100:0xE01F0] = MARK
    table[[0x200C, 0x200D, 0x1039, 0x17D2]] = JOINER  # what comes behind belongs to what stands before
    return table


def tokens(text: str) -> Tokens:
    """The tokens of `text`, in order."""
    found: list[Tokens] = []
    at, size = 0, SLICE
    while at < len(text):
        last = at + size >= len(text)
        part = _slice(text[at : at + size], at)
        if last:
            found.append(part)
            break
        if part.starts.size < 2:  # a token longer than the slice
            size *= 2
            continue
        found.append(Tokens(part.starts[:-1], part.ends[:-1], part.full[:-1], part.bare[:-1]))  # the last one may go on
        at, size = int(part.starts[-1]), SLICE
    if not found:
        return _slice("", 0)
    return found[0] if len(found) == 1 else Tokens(*(np.concatenate(columns) for columns in zip(*found)))


def _slice(text: str, at: int) -> Tokens:
    """The tokens of a piece of text that begins at `at`, with the first of a token unless that is 0."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = kinds()[points]
    before = np.empty_like(kind)
    before[:1], before[1:] = SPACE, kind[:-1]
    space = kind == SPACE
    begins = (before == SPACE) & ~space & (kind != MARK) & (kind != JOINER)
    begins |= (kind == CHARACTER) & (before != OPENING) & (before != JOINER)
    begins |= (kind == OPENING) & (before != OPENING)
    begins |= (kind == WORD) & (before == CHARACTER)
    if at:
        begins[:1] = True
    starts = np.flatnonzero(begins)
    if starts.size == 0:
        none = np.zeros(0, np.int64)
        return Tokens(none, none, none.astype(np.uint64), none.astype(np.uint64))
    first = int(starts[0])
    points, space, starts = points[first:], space[first:], starts - first
    place = np.arange(points.size) - np.repeat(starts, np.diff(np.append(starts, points.size)))
    letters = mixed((points + np.uint64(1) | place.astype(np.uint64) << np.uint64(32)) * GOLDEN)
    ends = np.maximum.reduceat(np.where(space, 0, np.arange(1, points.size + 1)), starts)
    full = mixed(np.add.reduceat(letters, starts))
    letters[space] = 0
    return Tokens(starts + first + at, ends + first + at, full, mixed(np.add.reduceat(letters, starts)))


# ------------------------------------------------------------------------------------------------ passages


def blocks(values: Hashes, length: int, purpose: int) -> Hashes:
    """(n - length + 1,) the hash of each `length` values that follow each other, by doubling; `purpose` picks the function."""
    count = values.size - length + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    left, right = factors(2, purpose)
    held, size = mixed(values * left + right), 1
    while size * 2 <= length:
        held = mixed(held[:-size] * left + held[size:] * right)
        size *= 2
    rest = length - size
    return held if rest == 0 else mixed(held[:count] * left + held[rest : rest + count] * right)


def passages(found: Tokens, length: int) -> NDArray[np.uint64]:
    """(n - length + 1, 2) 128 bits for each passage of `length` (at least 2) tokens, without the blank space behind it."""
    count = max(found.full.size - length + 1, 0)
    columns = []
    for purpose in (11, 12):
        factor = factors(1, purpose)[0]
        inner = blocks(found.full, length - 1, purpose)[:count]
        columns.append(mixed(inner * factor + mixed(found.bare[length - 1 :] ^ factor)[:count]))
    return np.stack(columns, axis=1)


def marks(found: Tokens, length: int) -> tuple[Places, Hashes]:
    """(n - length + 1,) for each passage of `length` tokens the place of its mark; and the hashes of all places.

    k is half the length: shorter ones would meet by chance more often, longer ones leave more marks."""
    k = (length + 1) // 2
    hashes = blocks(found.bare, k, 13)
    return lowest(hashes, length - k + 1), hashes


def lowest(values: Hashes, width: int) -> Places:
    """(n - width + 1,) where the smallest of each `width` neighbours stands, the last of equal ones."""
    if values.size < width:
        return np.zeros(0, np.int64)

    def lower(left: Places, right: Places) -> Places:
        return np.where(values[right] <= values[left], right, left)

    held, size = np.arange(values.size), 1
    while size * 2 <= width:
        held = lower(held[:-size], held[size:])
        size *= 2
    count, rest = values.size - width + 1, width - size
    return lower(held[:count], held[rest : rest + count])
