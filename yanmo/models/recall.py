"""What a text has said before: at each position, where the longest run of last tokens stood already, and what came then.

    … the four treasures of the study … the four treasures of → 'the', known from a run of five

A text repeats itself far more than it repeats other texts: names, terms, turns of phrase. Neither counts of other texts nor a
small network can know them; looking back can (the match model of Mahoney's PAQ compressors; a cache as in Kuhn and De Mori 1990
"A cache-based natural language model for speech recognition", of runs instead of single words).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RUNS = (1, 2, 3, 4, 6, 8, 12)  # how many last tokens must be the same
REACH = 4096  # tokens that are looked back on
NONE = -1  # where there is no token
FEW = 4  # positions for which all earlier ones are compared, instead of sorting them

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xD6E8FEB86659FD93)

Array = NDArray[Any]


def recalled(tokens: Array, begins: Array, first: int) -> tuple[Array, Array]:
    """For the positions from `first` on of rows (B, S) of tokens: the number of the longest run that stood before, 1 to
    len(RUNS), 0 for none, and the token that followed it the last time; both (B, S - first) int64.

    NONE, at a row's beginning, is no token. `begins` (B, S) bool: where another document begins, behind which nothing is looked
    for."""
    rows, width = tokens.shape
    known, following = np.zeros((rows, width - first), np.int64), np.zeros((rows, width - first), np.int64)
    for row in range(rows):
        start = min(int((tokens[row] != NONE).argmax()), first)
        _row(tokens[row, start:], begins[row, start:], first - start, known[row], following[row])
    return known, following


def _row(tokens: Array, begins: Array, first: int, known: Array, following: Array) -> None:
    """Fills `known` and `following` (S - first,) of one row."""
    keys, inside = list(ends(tokens, begins, RUNS[-1])), within(begins)
    for number in range(len(RUNS), 0, -1):
        length = RUNS[number - 1]
        earlier = _earlier(keys[length - 1], first)
        found = (known == 0) & (earlier >= 0) & (inside[first:] >= length - 1) & (inside[earlier] >= length - 1)
        known[found], following[found] = number, tokens[earlier[found] + 1]


def within(begins: Array) -> Array:
    """(S,): how many tokens of its document stand before each."""
    places = np.arange(len(begins))
    return places - np.maximum.accumulate(np.where(begins, places, 0))


def ends(tokens: Array, begins: Array, longest: int) -> Iterator[Array]:
    """For 1, 2, … `longest`: a key (S,) uint64 of the last so many tokens at each position, other in each document; where a
    document has not so many, it means nothing."""
    values = (tokens.astype(np.int64) + 2).astype(np.uint64) * _SPREAD
    keys = (np.cumsum(begins).astype(np.uint64) + np.uint64(1)) * _SPREAD  # of none: its document
    for length in range(1, longest + 1):
        shorter = keys if length == 1 else np.concatenate([keys[:1], keys[:-1]])
        keys = shorter * _MULTIPLIER + values
        keys ^= keys >> np.uint64(29)
        yield keys


def _earlier(keys: Array, first: int) -> Array:
    """The last position before each from `first` on with the same key, -1 for none; (S - first,)."""
    count = len(keys)
    found = np.full(count - first, -1, np.int64)
    if count - first <= FEW:
        for place in range(first, count):
            same = np.flatnonzero(keys[:place] == keys[place])
            if len(same):
                found[place - first] = same[-1]
        return found
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    later, sooner = order[1:][same], order[:-1][same]
    wanted = later >= first
    found[later[wanted] - first] = sooner[wanted]
    return found
