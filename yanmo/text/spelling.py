"""Where words and sentences begin among a row's tokens, whatever the tokenizer.

A row's tokens are spelled out as the bytes they stand for, the text is divided, and a border of the text that is also a
border of two tokens divides the row:

    tokens      re | search |  ers |  said | ：| 研究 | 生 | 命 | 起源        (jieba: 研究 · 生命 · 起源)
    words       ------------------   -----   --   ----   -------   ----

So pieces of a word are never parted, be the tokenizer's mark of a word a space before it or ## before the other pieces,
and a token that holds more than a word keeps them together. Letters with their marks, digits and apostrophes between
letters are words; of Chinese, what jieba finds (Cui et al. 2019, arXiv:1906.08101, "whole word masking"); every other
character stands alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yanmo.core.extras import needed

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

SPACE, WORD, HAN, ATTACHED, JOINER, OTHER, BROKEN = range(7)  # kinds of characters
HAN_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
APOSTROPHES = "'’"
SENTENCE = re.compile(
    r"(?P<latin>[.!?…]+)[\"'”’)\]»]*(?=\s)"  # a mark, what closes behind it, and a blank
    r"|[。！？…]+[”’」』）】》\"]*"
    r"|\n+"
)
ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Col|Gen|Lt|Rev|Hon|Jr|Sr|No|Vol|Fig|vs|etc|cf|e\.g|i\.e)|\b[A-Z])$")


class Kinds(dict[str, int]):
    """Character → its kind, worked out once."""

    def __missing__(self, character: str) -> int:
        category = unicodedata.category(character)
        if character.isspace():
            kind = SPACE
        elif HAN_RUN.match(character):
            kind = HAN
        elif "\udc80" <= character <= "\udcff":
            kind = BROKEN  # a byte of a character whose other bytes are not in the row
        elif character == "\u200d":
            kind = JOINER  # of two emoji
        elif category[0] == "M" or "\U0001f3fb" <= character <= "\U0001f3ff":
            kind = ATTACHED  # marks, variation selectors, the skin of an emoji
        else:
            kind = WORD if character.isalnum() else OTHER
        self[character] = kind
        return kind


KINDS = Kinds()


def borders(text: str, cut: Callable[[str], list[str]]) -> NDArray[np.bool_]:
    """(len + 1,): whether a word begins or ends before each character, and behind the last. `cut` divides Chinese."""
    kinds = np.fromiter(map(KINDS.__getitem__, text), np.int8, len(text))
    for index in np.flatnonzero(kinds == OTHER):
        inside = 0 < index < len(text) - 1 and text[index] in APOSTROPHES
        if inside and kinds[index - 1] == kinds[index + 1] == WORD and text[index + 1].isalpha():
            kinds[index] = WORD
    base = kinds.copy()  # what a mark is attached to decides what may follow
    for index in np.flatnonzero(kinds[1:] == ATTACHED) + 1:
        base[index] = base[index - 1]
    found = np.ones(len(text) + 1, bool)
    if len(text) > 1:
        left, right = base[:-1], kinds[1:]
        alike = (left == right) & np.isin(right, (WORD, HAN, BROKEN))
        joined = alike | (right == ATTACHED) | (right == JOINER) | (kinds[:-1] == JOINER)
        found[1:-1] = ~(joined & (left != SPACE))
    for run in HAN_RUN.finditer(text):
        at = run.start()
        for word in cut(run[0])[:-1]:
            at += len(word)
            found[at] = True
    return found


def sentence_ends(text: str) -> list[int]:
    """Where a sentence ends: behind its mark and what closes behind it; a full stop behind an initial or a common
    abbreviation ends none."""
    found = []
    for mark in SENTENCE.finditer(text):
        if mark["latin"] == "." and ABBREVIATION.search(text, max(0, mark.start() - 8), mark.start()):
            continue
        found.append(mark.end())
    return found


@dataclass(frozen=True)
class Spelled:
    """`text` of a row of T tokens; `places` (T + 1,): the character before which each token begins, -1 within one."""

    text: str
    places: NDArray[np.int64]


class Break(NamedTuple):
    """Where a sentence ends and the next begins among a row's tokens: token `end` is the first behind the one, token `begin`
    the first of the other; blanks that are tokens of their own lie between. `mark`: the blanks that are not, so that they
    stay with the token before or behind."""

    end: int
    begin: int
    mark: tuple[str, str]


class Speller:
    """Of one tokenizer. `special` (V,) bool: tokens that stand for no text, the special ones first of all."""

    def __init__(self, tokenizer: Tokenizer):
        self.special = np.asarray(tokenizer.byte_lengths) == 0
        self.special[list(tokenizer.special.values())] = True
        self.pieces = [b"" if self.special[token] else tokenizer.piece(token) for token in range(tokenizer.size)]
        self._chinese = False
        for token, piece in enumerate(self.pieces):
            shown = piece.decode("utf-8", "ignore")
            if HAN_RUN.search(shown):
                self._chinese = True
                if shown[0] == " ":  # WordPiece puts a space between any two characters: no text has those
                    self.pieces[token] = piece[1:]
        self._cut: Callable[[str], list[str]] | None = None

    def need_words(self, where: str) -> None:
        """RequestError where the vocabulary has Chinese and the library that divides it is not there."""
        if self._chinese:
            self._jieba(where)

    def _jieba(self, where: str = "whole_word") -> Callable[[str], list[str]]:
        if self._cut is None:
            self._cut = needed("rjieba", "corpus", where).cut
        return self._cut

    def spell(self, tokens: Sequence[int] | NDArray) -> Spelled:
        pieces = [self.pieces[token] for token in tokens]
        data = b"".join(pieces)
        text = data.decode("utf-8", "surrogateescape")
        starts = np.cumsum([0, *map(len, pieces)])
        if text.isascii():
            return Spelled(text, starts)
        widths = [len(character.encode("utf-8", "surrogateescape")) for character in text]
        place = np.full(len(data) + 1, -1, np.int64)
        place[np.cumsum([0, *widths])] = np.arange(len(text) + 1)
        return Spelled(text, place[starts])

    def words(self, tokens: Sequence[int] | NDArray, cut: Callable[[str], list[str]] | None = None) -> NDArray[np.int64]:
        """(T,): the number of the word that each token belongs to, 0 first; -1 for special tokens. `cut` divides Chinese
        otherwise than jieba: `list`, into characters."""
        tokens = np.asarray(tokens, np.int64)
        special = self.special[tokens]
        spelled = self.spell(tokens)
        allowed = borders(spelled.text, cut or self._later)
        begins = np.where(spelled.places[:-1] < 0, False, allowed[spelled.places[:-1]])
        begins[:1] = True
        begins[1:] |= special[1:] | special[:-1]
        numbers = np.cumsum(begins & ~special) - 1
        return np.where(special, -1, numbers)

    def _later(self, run: str) -> list[str]:
        return self._jieba()(run)

    def breaks(self, tokens: Sequence[int] | NDArray) -> list[Break]:
        """What lies between the row's sentences, in order. A place that is within a token divides nothing; neither does the
        row's beginning or its end."""
        spelled = self.spell(tokens)
        text, places = spelled.text, spelled.places.copy()
        for index in np.flatnonzero(places < 0):  # within a character: as far as the next whole one
            places[index] = places[index - 1]
        found: dict[int, Break] = {}
        for place in sentence_ends(text):
            first = last = place
            while first and text[first - 1].isspace():
                first -= 1
            while last < len(text) and text[last].isspace():
                last += 1
            end, begin = int(np.searchsorted(places, first)), int(np.searchsorted(places, last, side="right")) - 1
            if 0 < end <= begin < len(tokens):
                found[first] = Break(end, begin, (text[first : places[end]], text[places[begin] : last]))
        return list(found.values())

    def sentences(self, tokens: Sequence[int] | NDArray) -> list[int]:
        """Where a sentence begins within the row: numbers of tokens, ascending, neither 0 nor T."""
        spelled = self.spell(tokens)
        ends = np.array(sentence_ends(spelled.text), np.int64)
        places = spelled.places.copy()
        for index in np.flatnonzero(places < 0):  # within a character: as far as the next whole one
            places[index] = places[index - 1]
        found = np.searchsorted(places, ends, side="left")
        return sorted({int(index) for index in found if 0 < index < len(spelled.places) - 1})
