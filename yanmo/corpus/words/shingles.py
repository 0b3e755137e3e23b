"""A text as a set of numbers: the hashes of every five tokens that follow each other in it.

A token is a word where words are spaced, and a single character in Chinese, Japanese, Thai and the other scripts that
do not space them, so that English is compared by five words, Chinese by five characters, and mixed text by both. Case,
width (NFKC) and punctuation do not count. Everything is done on arrays of code points: no Python object per word.

Nearly every character is normalised by itself, which is one look into a table (`folded`); only a text in which one depends
on its neighbours goes through NFKC as a whole. Short texts are worked on together, long ones in slices: a token's hash is
its polynomial in 64 bits (Karp and Rabin 1987), divided by the power at which it stands, so that it does not matter where.

These are not the words of `words.py`, and are no cheaper to derive from them than from the text: a contraction is two words
there and its letters tokens here, punctuation is left out, and Chinese goes by characters, which do not depend on a dictionary.
Nor would it save a pass: what a step compares is read back from disk, where only the texts are.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Codes = NDArray[np.uint32]
Places = NDArray[np.int64]

# Scripts written without spaces between words: a character is a token.
UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # 々 〆 〇
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA980, 0xA9DF),  # Javanese
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
WORD, CHARACTER = 1, 2
SHIFT, FIRST, SECOND = np.uint64(33), np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# Beside a code point in `folded`: it is a token of its own; it stands for several; what it becomes depends on its neighbours.
ALONE, SEVERAL, DEPENDS = 1 << 24, 1 << 30, 1 << 31
CODE = np.uint32(SEVERAL - 1)
PLANES = 0x20000  # beyond it there is Han alone
LINE, SIGMA = 0x0A, 0x03A3  # the capital sigma, whose lower case at the end of a word is another
SLICE = 1 << 16  # code points, or tokens, looked at together: half a megabyte for each array of their hashes


@cache
def categories() -> NDArray[np.uint8]:
    """(PLANES,) the first letter of each code point's category; 0 for Han, where nobody asks."""
    table = np.zeros(PLANES, np.uint8)
    for first, last in ((0, 0x3400), (0xA000, PLANES)):
        found = "".join(map(unicodedata.category, map(chr, range(first, last))))  # two letters each
        table[first:last] = np.frombuffer(found.encode(), np.uint8)[::2]
    return table


@cache
def classes() -> NDArray[np.uint8]:
    """For each code point: 0 (between tokens), WORD or CHARACTER."""
    table = np.zeros(0x110000, np.uint8)
    for letter in b"LMN":
        table[:PLANES][categories() == letter] = WORD
    for first, last in UNSPACED:
        span = table[first : last + 1]
        if first < 0x3400 or first == 0xA980:
            span[span == WORD] = CHARACTER
        else:
            span[:] = CHARACTER
    table[0xFE00:0xFE10] = 0  # variation selectors choose a glyph, not a letter
    return table


@cache
def folded() -> Codes:
    """For each code point: 0 between tokens, else what NFKC and lower case make of it, with ALONE, SEVERAL or DEPENDS."""
    table = np.zeros(0x110000, np.uint32)
    inside = np.flatnonzero(classes())
    table[inside] = inside
    table[classes() == CHARACTER] |= ALONE
    table[inside[categories()[np.minimum(inside, PLANES - 1)] == ord("M")]] |= DEPENDS
    table[0x1100:0x1200] |= DEPENDS  # the pieces of Hangul
    changing = np.array([*range(0x3400), *range(0xA000, 0xAC00), *range(0xF900, PLANES), *range(0x2F800, 0x2FA20)], np.uint32)
    lines = np.full(2 * changing.size, LINE, np.uint32)
    lines[::2] = np.where(changing == LINE, 0, changing)
    normal = normalize("NFKC", lines.tobytes().decode("utf-32-le"))
    found = points_of(normal)
    sigmas = np.cumsum(found == LINE)[found == SIGMA]
    found = points_of(normal.lower())
    ends = np.flatnonzero(found == LINE)
    starts = np.append(0, ends[:-1] + 1)
    codes = np.maximum.reduceat(table[found], starts)
    codes[(ends - starts > 1) & (codes > 0) & (codes < DEPENDS)] = SEVERAL
    codes[sigmas] |= DEPENDS
    table[changing] = codes
    return table


def points_of(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def plain(text: str) -> str:
    """The text with what cannot be folded one by one normalised."""
    if text.isascii():
        return text
    points = points_of(text)
    odd = np.unique(points[folded()[points] >= SEVERAL])
    if (folded()[odd] >= DEPENDS).any():
        return normalize("NFKC", text).lower()
    for character in map(chr, odd.tolist()):
        text = text.replace(character, normalize("NFKC", character).lower())
    return text


def mixed(values: Hashes) -> Hashes:
    """A bijection of 64-bit numbers in which every bit of the input reaches every bit of the output (MurmurHash3's
    finalizer, Appleby 2011)."""
    values = values ^ (values >> SHIFT)
    values *= FIRST
    values ^= values >> SHIFT
    values *= SECOND
    values ^= values >> SHIFT
    return values


@cache
def factors(count: int, purpose: int) -> Hashes:
    """`count` odd numbers, fixed for ever."""
    start = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(purpose << 32)
    return mixed(start * GOLDEN) | np.uint64(1)


def powers(count: int) -> tuple[Hashes, Hashes]:
    """The first `count` powers of an odd number modulo 2^64, and of its inverse."""
    size = 1 << max(count - 1, 1023).bit_length()
    factors_, inverses = _powers(size)
    return factors_[:count], inverses[:count]


@cache
def _powers(size: int) -> tuple[Hashes, Hashes]:
    base = int(factors(1, 21)[0])
    both = (np.full(size, value, np.uint64) for value in (base, pow(base, -1, 1 << 64)))
    first, second = (np.cumprod(np.concatenate([np.ones(1, np.uint64), column[1:]]), dtype=np.uint64) for column in both)
    return first, second


# ------------------------------------------------------------------------------------------------ tokens and shingles


def tokens(text: str) -> Hashes:
    """The hash of each token of `text`, in order. A word of more than SLICE characters is several tokens."""
    return tokens_of([text])[0]


def tokens_of(texts: Sequence[str]) -> tuple[Hashes, list[int]]:
    """(n,) the hashes of all tokens, text by text, and where those of each text begin, with n behind the last."""
    codes = _codes("\n".join(texts))
    if codes is not None and codes.max(initial=0) >= SEVERAL:
        texts = list(map(plain, texts))
        codes = _codes("\n".join(texts))
    if codes is None:
        found = list(map(_long, texts))
        return np.concatenate(found), [0, *accumulate(hashes.size for hashes in found)]
    starts, hashes = _hashed(codes)
    borders = [0, *accumulate(len(text) + 1 for text in texts)]
    return hashes, np.searchsorted(starts, borders).tolist()


def _long(text: str) -> Hashes:
    if not text.isascii():
        text = normalize("NFKC", text).lower()
    found, at = [np.zeros(0, np.uint64)], 0
    while at < len(text):
        codes = _codes(text[at : at + SLICE])
        assert codes is not None, "a slice"
        starts, hashes = _hashed(codes)
        if at + SLICE < len(text) and starts.size and starts[-1] > 0:  # the last one may go on
            found.append(hashes[:-1])
            at += int(starts[-1])
        else:
            found.append(hashes)
            at += SLICE
    return np.concatenate(found)


class Space(threading.local):
    """Arrays for the work on a slice. To ask the system for new ones each time takes longer than the work."""

    def __init__(self) -> None:
        self.places, self.codes = np.empty(SLICE, np.int64), np.empty(SLICE, np.uint32)
        self.sums = np.zeros(SLICE + 1, np.uint64)


SPACE = Space()


def _codes(text: str) -> Codes | None:
    """The codes of a slice, until the next one is asked for; None where it is longer."""
    if len(text) > SLICE:
        return None
    places = SPACE.places[: len(text)]
    places[:] = points_of(text)
    return folded().take(places, out=SPACE.codes[: len(text)], mode="clip")


def _hashed(codes: Codes) -> tuple[Places, Hashes]:
    """Where each token begins, and its hash."""
    codes &= CODE
    inside = codes > 0
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    alone = codes >= ALONE
    if alone.any():
        begins |= alone
        begins[1:] |= inside[1:] & alone[:-1]
    starts = np.flatnonzero(begins)
    if starts.size == 0:
        return starts, np.zeros(0, np.uint64)
    factors_, inverses = powers(codes.size)
    sums = SPACE.sums[: codes.size + 1]  # the first is 0
    np.multiply(codes, factors_, out=sums[1:])
    np.cumsum(sums[1:], out=sums[1:])
    before = sums[starts]
    totals = np.append(before[1:], sums[-1]) - before  # what is between tokens is 0
    totals *= inverses[starts]
    return starts, mixed(totals)


def shingles(texts: Sequence[str], length: int) -> list[Hashes]:
    """For each text the hashes of each `length` tokens that follow each other in it; none where it has fewer."""
    words, borders = tokens_of(texts)
    found = runs(words, length)
    return [found[start : max(end - length + 1, start)] for start, end in pairwise(borders)]


def runs(words: Hashes, length: int) -> Hashes:
    """(max(n - length + 1, 0),) the hash of each `length` words that follow each other."""
    count = words.size - length + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    if words.size > SLICE:
        step = SLICE - length + 1
        return np.concatenate([runs(words[start : start + SLICE], length) for start in range(0, count, step)])
    factors_, inverses = powers(words.size)
    sums = np.zeros(words.size + 1, np.uint64)
    np.cumsum(words * factors_, out=sums[1:])
    found = sums[length:] - sums[:-length]
    found *= inverses[:count]
    return mixed(found)
