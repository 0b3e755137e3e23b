"""A text's words, worked out once and shared by every step that asks: arrays, no string for each word.

    found = words_of(doc)        kept with the document until its text changes
    found.count · lengths · hashes · flags · starts · ends · grams(n, blank) · spans(n)

What stands between two blanks is cut by itself: by jieba where it holds a Chinese character or most of the text is Chinese,
else by `english.py`. Where a step is told the language, everything is cut by its rules, as datatrove does, whose filters have
one language each. The words are those that the published filters were tuned with; marks of punctuation are words.

Natural text repeats itself: what stands between two blanks is looked up in a table of the process and cut only when it is
new, and what filters ask of a word (is it a mark, has it a letter) is worked out once for each such piece. The table is
bounded, and its state changes nothing but the speed.

A word's hash is its polynomial in 64 bits (Karp and Rabin 1987), so that the hash of words set one behind the other
follows from theirs, with or without a blank between: n-grams are counted without being joined.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yanmo.core.data import Document
from yanmo.core.extras import installed, needed
from yanmo.corpus.words.english import split

Hashes = NDArray[np.uint64]
Integers = NDArray[np.int64]
Places = NDArray[np.int32]

LETTER, SYMBOL, MARK, TERMINAL, HAN, NUMBER = 1, 2, 4, 8, 16, 32
"""Flags: some character is alphabetic; all are in SYMBOLS; all are punctuation in Unicode; it ends a sentence; it holds a
Chinese character; it has a decimal digit and no letter."""

CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
JOINED = re.compile(r"[A-Za-z0-9%]+(?:[._-]+[A-Za-z0-9%]+)+")
RUN = re.compile(r"[A-Za-z0-9]+(?:\.[0-9]+)?%?|[^A-Za-z0-9]+")
RARE = re.compile("([\u3400-\u4dbf\u9fd6-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")  # not in jieba's own range
BLANKS = re.compile(r"\s+")
CHINESE_TAGS = frozenset(("zh", "cmn", "yue", "wuu", "hak", "nan", "lzh"))

# Unicode 15's Sentence_Terminal (PropList.txt) with Khmer's other stops, as (first, last).
ENDS = (
    (0x21, 0x21), (0x2E, 0x2E), (0x3F, 0x3F), (0x589, 0x589), (0x61D, 0x61F), (0x6D4, 0x6D4), (0x700, 0x702), (0x7F9, 0x7F9),
    (0x837, 0x837), (0x839, 0x839), (0x83D, 0x83E), (0x964, 0x965), (0x104A, 0x104B), (0x1362, 0x1362), (0x1367, 0x1368),
    (0x166E, 0x166E), (0x1735, 0x1736), (0x17D4, 0x17D6), (0x17D9, 0x17DA), (0x1803, 0x1803), (0x1809, 0x1809),
    (0x1944, 0x1945), (0x1AA8, 0x1AAB), (0x1B5A, 0x1B5B), (0x1B5E, 0x1B5F), (0x1B7D, 0x1B7E), (0x1C3B, 0x1C3C),
    (0x1C7E, 0x1C7F), (0x203C, 0x203D), (0x2047, 0x2049), (0x2E2E, 0x2E2E), (0x2E3C, 0x2E3C), (0x2E53, 0x2E54),
    (0x3002, 0x3002), (0xA4FF, 0xA4FF), (0xA60E, 0xA60F), (0xA6F3, 0xA6F3), (0xA6F7, 0xA6F7), (0xA876, 0xA877),
    (0xA8CE, 0xA8CF), (0xA92F, 0xA92F), (0xA9C8, 0xA9C9), (0xAA5D, 0xAA5F), (0xAAF0, 0xAAF1), (0xABEB, 0xABEB),
    (0xFE52, 0xFE52), (0xFE56, 0xFE57), (0xFF01, 0xFF01), (0xFF0E, 0xFF0E), (0xFF1F, 0xFF1F), (0xFF61, 0xFF61),
    (0x10A56, 0x10A57), (0x10F55, 0x10F59), (0x10F86, 0x10F89), (0x11047, 0x11048), (0x110BE, 0x110C1), (0x11141, 0x11143),
    (0x111C5, 0x111C6), (0x111CD, 0x111CD), (0x111DE, 0x111DF), (0x11238, 0x11239), (0x1123B, 0x1123C), (0x112A9, 0x112A9),
    (0x1144B, 0x1144C), (0x115C2, 0x115C3), (0x115C9, 0x115D7), (0x11641, 0x11642), (0x1173C, 0x1173E), (0x11944, 0x11944),
    (0x11946, 0x11946), (0x11A42, 0x11A43), (0x11A9B, 0x11A9C), (0x11C41, 0x11C42), (0x11EF7, 0x11EF8), (0x11F43, 0x11F44),
    (0x16A6E, 0x16A6F), (0x16AF5, 0x16AF5), (0x16B37, 0x16B38), (0x16B44, 0x16B44), (0x16E98, 0x16E98), (0x1BC9F, 0x1BC9F),
    (0x1DA88, 0x1DA88),
)  # fmt: skip
TERMINALS = frozenset(chr(point) for first, last in ENDS for point in range(first, last + 1))
# The punctuation of CCNet (Wenzek et al. 2020), controls, and what ends a sentence: FineWeb's words of symbols alone.
SYMBOLS = TERMINALS.union(
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»",
    map(chr, (*range(9), *range(11, 32), *range(127, 160))),
)

BITS = (1 << 64) - 1
BASE = 0xD1342543DE82EF95  # odd, the multiplier of a good 64-bit congruential generator (Steele and Vigna 2021)
SPREAD = 0x9E3779B97F4A7C15  # a character's code point and one take part times this, so that small ones are far apart
BLANK = (0x21 * SPREAD) & BITS
LONG = 64  # characters of a piece that is still worth a place in the table
PIECES = 1 << 17  # pieces in the table before it is begun anew: at most 90 MB
WORDS = 1 << 19
BLOCK = 1 << 21  # characters that are taken apart at once

Cut = Callable[[str], list[str]]
Tongue = Literal["en", "zh"]


def check(where: str) -> None:
    """RequestError unless the library that cuts Chinese is there; `where` names the step that needs words."""
    installed("rjieba", "corpus", where)


@cache
def _jieba() -> Cut:
    cut: Cut = needed("rjieba", "corpus", "words").cut
    return cut


# ------------------------------------------------------------------------------------------------ the table


class Pieces(dict[str, int]):
    """What stands between two blanks → its row in the table; a new one is cut and entered when it is asked for."""

    def __init__(self, table: Table, cut: Cut):
        super().__init__()
        self.table, self.cut = table, cut

    def __missing__(self, piece: str) -> int:
        row = self.table.enter(self.cut(piece))
        if len(piece) <= LONG:
            self[piece] = row
        return row


class Table:
    """Rows of words that follow each other: `first` and `size` of each row, and of each word its hash, the power of BASE
    that a hash before it is moved by, its length and its flags."""

    def __init__(self) -> None:
        self.pieces = Pieces(self, split)
        self.words = Pieces(self, as_jieba)
        self.rows = self.used = 0
        self.first, self.size = np.zeros(1 << 12, np.int32), np.zeros(1 << 12, np.int32)
        self.hashes, self.powers = np.zeros(1 << 13, np.uint64), np.zeros(1 << 13, np.uint64)
        self.lengths, self.flags = np.zeros(1 << 13, np.int32), np.zeros(1 << 13, np.uint8)

    def enter(self, words: list[str]) -> int:
        """The number of a new row."""
        row, place = self.rows, self.used
        if row == len(self.first):
            self.first, self.size = (np.concatenate([a, np.zeros_like(a)]) for a in (self.first, self.size))
        while place + len(words) > len(self.hashes):
            self.hashes, self.powers, self.lengths, self.flags = (
                np.concatenate([a, np.zeros_like(a)]) for a in (self.hashes, self.powers, self.lengths, self.flags)
            )
        self.first[row], self.size[row] = place, len(words)
        for word in words:
            self.hashes[place], self.powers[place] = polynomial(word)
            self.lengths[place], self.flags[place] = len(word), flags(word)
            place += 1
        self.rows, self.used = row + 1, place
        return row

    def places(self, text: str, language: Tongue | None) -> Places:
        """The places of the text's words in this table, in order; by the rules of `language`, or of each piece's script."""
        if len(text) <= BLOCK:
            return self._places(text, language)
        found: list[Places] = []
        start = 0
        while blank := BLANKS.search(text, start + BLOCK):  # a book of many megabytes, so that its pieces are never all in memory
            found.append(self._places(text[start : blank.start()], language))
            start = blank.end()
        return np.concatenate([*found, self._places(text[start:], language)])

    def _places(self, text: str, language: Tongue | None) -> Places:
        pieces = text.split()
        if language == "en":
            rows = np.fromiter(map(self.pieces.__getitem__, pieces), np.int32, len(pieces))
        else:
            rows = np.array(self._mixed(pieces, language == "zh"), np.int32)
        first, size = self.first[rows], self.size[rows]
        last = np.cumsum(size)
        if len(rows) == 0 or last[-1] == len(rows):
            return first
        return (np.repeat(first - last + size, size) + np.arange(last[-1])).astype(np.int32)

    def _mixed(self, pieces: list[str], whole: bool) -> list[int]:
        cut, rows = _jieba(), list[int]()
        for piece in pieces:
            if not whole and not has_chinese(piece):
                rows.append(self.pieces[piece])
            else:
                rows.extend(map(self.words.__getitem__, cut(piece)))
        return rows


def has_chinese(text: str) -> bool:
    return not text.isascii() and CHINESE.search(text) is not None


def mostly_chinese(text: str) -> bool:
    """Whether most of the characters stand in pieces with Chinese ones: jieba then cuts the whole text."""
    if not has_chinese(text):
        return False
    pieces = text.split()
    return 2 * sum(len(piece) for piece in pieces if has_chinese(piece)) > sum(map(len, pieces))


def alone(text: str) -> Tongue | None:
    """The language whose rules cut the whole text, where there is one."""
    if not has_chinese(text):
        return "en"
    return "zh" if mostly_chinese(text[:BLOCK]) else None


def as_jieba(word: str) -> list[str]:
    """What jieba itself makes of a word of rjieba: it cuts `GPT-4` and `example.com`, and rare characters one by one."""
    if JOINED.fullmatch(word):
        return RUN.findall(word)
    if RARE.search(word):
        return [part for part in RARE.split(word) if part]
    return [word]


def polynomial(word: str) -> tuple[int, int]:
    """Σ ((code point + 1) · SPREAD) · BASE^(characters behind it) mod 2^64, and BASE^length."""
    if len(word) > 4 * LONG:
        values = (_points(word).astype(np.uint64) + np.uint64(1)) * np.uint64(SPREAD)
        factor = BASE
        while len(values) > 1:  # pairs of digits become digits of the base squared
            if len(values) % 2:
                values = np.concatenate([np.zeros(1, np.uint64), values])
            values, factor = values[::2] * np.uint64(factor) + values[1::2], factor * factor & BITS
        return int(values[0]), pow(BASE, len(word), 1 << 64)
    total = 0
    for letter in word:
        total = (total * BASE + (ord(letter) + 1) * SPREAD) & BITS
    return total, pow(BASE, len(word), 1 << 64)


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def flags(word: str) -> int:
    letter = word.isalpha() or any(map(str.isalpha, word))
    found = LETTER if letter else 0
    if not letter:
        if SYMBOLS.issuperset(word):
            found |= SYMBOL
        if all(unicodedata.category(character)[0] == "P" for character in word):
            found |= MARK
        if word in TERMINALS:
            found |= TERMINAL
        if any(map(str.isdecimal, word)):
            found |= NUMBER
    if has_chinese(word):
        found |= HAN
    return found


_table: list[Table] = []


def table() -> Table:
    """The table of this process, begun anew when it is full; texts already cut keep the one they were cut with."""
    if _table and (len(_table[0].pieces) + len(_table[0].words) > PIECES or _table[0].used > WORDS):
        full = _table.pop()
        full.pieces.clear()
        full.words.clear()
    if not _table:
        _table.append(Table())
    return _table[0]


# ------------------------------------------------------------------------------------------------ a text's words


class Words:
    """The words of `text`, by the rules of `language` or of its scripts; each array has one element for each word, in order."""

    def __init__(self, text: str, language: Tongue | None = None):
        self.text, self.table = text, table()
        self.languages: set[Tongue | None] = {language}  # for all of which the words are these
        if language is None and (language := alone(text)):
            self.languages.add(language)
        elif language == "en" and not has_chinese(text):
            self.languages.add(None)
        self.places = self.table.places(text, language)
        self.count = len(self.places)

    @cached_property
    def hashes(self) -> Hashes:
        """Equal words have equal hashes, on every machine."""
        return self.table.hashes[self.places]

    @cached_property
    def lengths(self) -> Places:
        """In characters."""
        return self.table.lengths[self.places]

    @cached_property
    def flags(self) -> NDArray[np.uint8]:
        return self.table.flags[self.places]

    @cached_property
    def reach(self) -> Integers:
        """(count + 1,) characters of all words before each one, blanks not counted."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    @cached_property
    def points(self) -> NDArray[np.uint32]:
        """The code points of the text."""
        return _points(self.text)

    @cached_property
    def starts(self) -> Integers:
        """Where each word begins in the text: words hold every character that is no blank."""
        solid = np.flatnonzero(~_blank()[np.minimum(self.points, 0x3001)])
        return solid[self.reach[:-1]]

    @property
    def ends(self) -> Integers:
        return self.starts + self.lengths

    def having(self, flag: int) -> int:
        """How many words have a flag."""
        return int(np.count_nonzero(self.flags & np.uint8(flag)))

    def known(self, hashes: Hashes) -> int:
        """How many of these different words occur."""
        return sum(bool((self.hashes == hashed).any()) for hashed in hashes)

    def grams(self, longest: int, blank: bool) -> Iterator[Hashes]:
        """For 1, 2, … `longest`: the hashes of so many words set one behind the other, with a blank between or none, from each
        word on that has so many; in the end there may be none."""
        hashes, powers, total = self.hashes, self.table.powers[self.places], self.hashes
        if blank:
            hashes, powers = hashes + np.uint64(BLANK) * powers, powers * np.uint64(BASE)
        yield total
        for offset in range(1, longest):
            total = total[:-1] * powers[offset:]
            total += hashes[offset:]
            yield total

    def spans(self, length: int) -> Integers:
        """(count - length + 1,) characters of `length` words that follow each other, no blanks counted."""
        return self.reach[length:] - self.reach[: max(len(self.reach) - length, 0)]


@cache
def _blank() -> NDArray[np.bool_]:
    return np.array([chr(point).isspace() for point in range(0x3002)])


def words_of(doc: Document, language: Tongue | None = None) -> Words:
    """The words of the document's text as it stands now, by the rules of `language` or of its scripts."""
    found = doc.cache
    if found is None or found.text is not doc.text or language not in found.languages:
        found = doc.cache = Words(doc.text, language)
    return found


def hashes_of(words: Iterable[str]) -> Hashes:
    """The hashes of given words, as `Words.hashes` has them."""
    return np.array([polynomial(word)[0] for word in words], np.uint64)


def language_of(doc: Document) -> Tongue:
    """By the document's tag where a step or its source gave one (every tag but Chinese means the rules for English), else
    by whether most of the text is Chinese."""
    tag = doc.meta.get("language")
    if isinstance(tag, str) and tag:
        return "zh" if re.split("[-_]", tag.lower(), maxsplit=1)[0] in CHINESE_TAGS else "en"
    return "zh" if mostly_chinese(doc.text[:BLOCK]) else "en"


# ------------------------------------------------------------------------------------------------ sentences


def sentence_ends(found: Words) -> Integers:
    """Where each sentence of the text but the last one ends, in characters.

    A sentence goes on over any marks behind its full stop; the next word, or blanks other than one space, end it
    (spaCy's sentencizer)."""
    if found.count == 0:
        return np.zeros(0, np.int64)
    terminal = (found.flags & TERMINAL) > 0
    stops = np.concatenate([np.zeros(1, np.int64), np.cumsum(terminal)])  # full stops before each word, and before the end
    breaks = np.concatenate([(found.flags & (MARK | TERMINAL)) == 0, np.zeros(1, np.bool_)])
    ends = found.ends
    gaps = np.concatenate([found.starts, np.array([len(found.text)])])[1:] - ends  # behind each word
    odd = (gaps == 1) & (found.points[np.minimum(ends, len(found.text) - 1)] != 0x20)
    breaks[1:] |= (gaps > 1) | odd
    at = np.flatnonzero(breaks)
    before = stops[at]
    opened = at[np.diff(before, prepend=0) > 0]
    return ends[opened - 1]


def sentences(text: str, language: Tongue | None = None) -> list[str]:
    """The text cut behind its sentences: the pieces together are the text."""
    cuts = [0, *sentence_ends(Words(text, language)).tolist(), len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]
