"""A text as rows of tokens for models that answer about places in it: each token with the characters that it stands for.

    windows("…", tokenizer, 512)                       [CLS] … [SEP]
    windows("…", tokenizer, 384, before="who …?")      [CLS] who …? [SEP] … [SEP]

A text that is longer than a row is read in several, which overlap, so that no place is without its surroundings. Marks
stand around a text as its tokenizer puts them there; where that puts none, the border begins a row, as everywhere, and where
none stands behind the text, the border ends it. One mark of each row stands for "nowhere" (no answer in this text): the
first, as Devlin et al. 2019 have it, or, where a row does not end with a mark of its tokenizer's, the border behind it, which
a model that reads from left to right has to have read everything for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yanmo.core.data import Place, Row

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

OVERLAP = 128  # tokens that neighbouring windows share, where they are long enough
QUESTION = 0.5  # of a row, at most, for what stands before the text


@dataclass(frozen=True, slots=True)
class Window:
    """One row about a text. `tokens` (T) with their `types` (0, or 1 for a text behind another); `places`: the characters
    of the text that each token stands for, wholly or in part, white space at their ends left out, and None for marks, for what
    stands before the text and for white space alone; `own`: tokens with a place that of all windows this one sees most around;
    `nowhere`: the index of the mark that stands for no place; `cut`: tokens of `before` that there was no room for."""

    tokens: list[int]
    types: list[int]
    places: list[Place | None]
    own: list[bool]
    nowhere: int
    cut: int = 0

    def find(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and last token of characters [start, end); None where the window does not hold all of them."""
        inside = [index for index, place in enumerate(self.places) if place and place[0] < end and place[1] > start]
        if not inside:
            return None
        first, last = inside[0], inside[-1]
        whole = self.places[first][0] <= start and self.places[last][1] >= end  # type: ignore[index]
        return (first, last) if whole else None

    def within(self, length: int) -> Window:
        """Itself; of a row too short for its marks and one token the beginning."""
        if len(self.tokens) <= length:
            return self
        return Window(self.tokens[:length], self.types[:length], self.places[:length], self.own[:length],
                      min(self.nowhere, length - 1), self.cut)  # fmt: skip

    def row(self, label: Any, trained: list[bool], example: str) -> Row:
        return Row(self.tokens, trained, label, example, self.types, self.places)


def windows(content: str, tokenizer: Tokenizer, length: int, overlap: int | None = None,
            before: str | None = None) -> list[Window]:  # fmt: skip
    """The windows of a text in rows of at most `length` tokens, at least one; `overlap` (None: 128, or half of what a row
    has room for) is how many tokens two neighbours share. `before`: what stands before the text in each of them."""
    ids = tokenizer.encode(content)
    places = [trimmed(content, start, end) for start, end in tokenizer.offsets(content)]
    assert len(ids) == len(places), "a tokenizer gives a place to each token"
    question = None if before is None else tokenizer.encode(before)
    around = len(_framed([0], question and question[:1], tokenizer).ids) - 1 - bool(question)
    cut = 0
    if question is not None:
        most = max(int((length - around) * QUESTION), 0)
        cut = max(len(question) - most, 0)
        question = question[:most]
    room = max(length - around - len(question or ()), 1)
    shared = min(OVERLAP if overlap is None else overlap, room // 2)
    return [window.within(length) for window in _windows(ids, places, question, tokenizer, room, shared, cut)]


def _windows(ids: list[int], places: list[Place | None], question: list[int] | None, tokenizer: Tokenizer, room: int,
             shared: int, cut: int) -> Iterator[Window]:  # fmt: skip
    starts = [0]
    while starts[-1] + room < len(ids):
        starts.append(starts[-1] + room - shared)
    ends = [min(start + room, len(ids)) for start in starts]
    for number, (start, end) in enumerate(zip(starts, ends)):
        # of a shared stretch the first half is the window's before, the second the one's behind
        low = start if number == 0 else (start + ends[number - 1] + 1) // 2
        high = end if end == len(ids) else (starts[number + 1] + end + 1) // 2
        framed = _framed(ids[start:end], question, tokenizer)
        here: list[Place | None] = [None if at is None else places[start + at] for at in framed.at]
        own = [at is not None and low <= start + at < high and places[start + at] is not None for at in framed.at]
        yield Window(framed.ids, framed.types, here, own, framed.nowhere, cut)


@dataclass(frozen=True, slots=True)
class _Framed:
    ids: list[int]
    types: list[int]
    at: list[int | None]  # of each token, its number in the text's own
    nowhere: int


def _framed(ids: list[int], question: list[int] | None, tokenizer: Tokenizer) -> _Framed:
    """The marks, by asking the tokenizer for one text's worth of -1, -2, …, which no mark has for an id."""
    stand_ins = [-1 - number for number in range(len(ids))]
    if question is None:
        around = tokenizer.add_special(stand_ins)
    else:
        around = tokenizer.add_special(question, stand_ins)
    made, types = list(around.ids), list(around.types)
    begins = bool(made) and made[0] >= 0 and made[0] in tokenizer.special.values()
    ends = bool(made) and made[-1] >= 0 and made[-1] in tokenizer.special.values()
    if not begins and not ends:
        made, types = [tokenizer.bos_id, *made], [0, *types]
    if not ends:
        made, types = [*made, tokenizer.eos_id], [*types, types[-1]]
    at = [None if token >= 0 else -1 - token for token in made]
    tokens = [token if number is None else ids[number] for token, number in zip(made, at)]
    return _Framed(tokens, types, at, 0 if begins and ends else len(tokens) - 1)


def trimmed(content: str, start: int, end: int) -> Place | None:
    """[start, end) without the white space at its ends; None where nothing else is in it."""
    while start < end and content[start].isspace():
        start += 1
    while start < end and content[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None
