"""A text as a set of numbers: the hashes of every five tokens that follow each other in it.

A token is a word where words are spaced, and a single character in Chinese, Japanese, Thai and the other scripts that
do not space them, so that English is compared by five words, Chinese by five characters, and mixed text by both. Case,
width (NFKC) and punctuation do not count. Everything is done on arrays of code points: no Python object per word.

These are not the words of `words.py`, and are no cheaper to derive from them than from the text: a contraction is two words
there and its letters tokens here, punctuation is left out, and Chinese goes by characters, which do not depend on a dictionary.
Nor would it save a pass: what a step compares is read back from disk, where only the texts are.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

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
LONGEST = 64  # a power of two: characters of a word whose place counts in its hash; later ones repeat them


@cache
def classes() -> NDArray[np.uint8]:
    """For each code point: 0 (between tokens), WORD or CHARACTER."""
    table = np.zeros(0x110000, np.uint8)
    for point in [*range(0x3400), *range(0xA000, 0xFB00), *range(0xFB00, 0x20000), *range(0xE0100, 0xE01F0)]:
        if unicodedata.category(chr(point))[0] in "LMN":
            table[point] = WORD
    for first, last in UNSPACED:
        span = table[first : last + 1]
        if first < 0x3400 or first == 0xA980:
            span[span == WORD] = CHARACTER
        else:
            span[:] = CHARACTER
    table[0xFE00:0xFE10] = 0  # variation selectors choose a glyph, not a letter
    table[0xE0100:0xE01F0] = 0
    return table


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


@cache
def ascii_letters() -> Hashes:
    return mixed(np.arange(128, dtype=np.uint64) * GOLDEN)


def tokens(text: str) -> Hashes:
    """The hash of each token of `text`, in order."""
    if text.isascii():
        points: NDArray[Any] = np.frombuffer(text.lower().encode("ascii"), np.uint8)
    else:
        text = unicodedata.normalize("NFKC", text).lower()
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = classes()[points]
    inside = np.flatnonzero(kind)
    if inside.size == 0:
        return np.zeros(0, np.uint64)
    points = points[inside]
    begins = np.ones(inside.size, bool)
    begins[1:] = inside[1:] != inside[:-1] + 1  # something between this character and the one before
    if points.itemsize > 1:
        alone = kind[inside] == CHARACTER
        begins[1:] |= alone[1:] | alone[:-1]
        letters = mixed(points.astype(np.uint64) * GOLDEN)
    else:
        letters = ascii_letters()[points]
    starts = np.flatnonzero(begins)
    place = np.arange(inside.size) - np.repeat(starts, np.diff(starts, append=inside.size))
    letters *= factors(LONGEST, 1)[place & (LONGEST - 1)]
    return mixed(np.add.reduceat(letters, starts))


def shingles(text: str, length: int) -> Hashes:
    """The hashes of each `length` tokens that follow each other; none where the text has fewer."""
    words = tokens(text)
    count = words.size - length + 1
    if count < 1:
        return np.zeros(0, np.uint64)
    total = np.zeros(count, np.uint64)
    for offset, factor in enumerate(factors(length, 2)):
        total += words[offset : offset + count] * factor
    return np.unique(mixed(total))
