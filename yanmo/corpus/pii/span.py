"""A find: where it stands in the text, its kind, and its value in the one form that all ways of writing it share."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

# Every kind, those first whose proof is strongest: of two finds of the same length the earlier kind stands.
KINDS = ("url_credentials", "api_key", "iban", "resident_id", "uscc", "credit_card", "bank_card", "passport", "email", "ip",
         "phone")  # fmt: skip
PRIORITY = {kind: place for place, kind in enumerate(KINDS)}


class Span(NamedTuple):
    start: int  # in characters of the text
    end: int
    kind: str
    value: str  # normalised: equal for all ways of writing the same thing


def resolve(spans: Iterable[Span]) -> list[Span]:
    """The spans that stand, none overlapping another, in order of place: the longest first, then the earlier kind, then the
    earlier place."""
    chosen: list[Span] = []
    starts: list[int] = []
    for span in sorted(set(spans), key=lambda s: (s.start - s.end, PRIORITY[s.kind], s.start, s.value)):
        place = bisect_left(starts, span.start)
        before = place > 0 and chosen[place - 1].end > span.start
        behind = place < len(chosen) and chosen[place].start < span.end
        if not before and not behind:
            chosen.insert(place, span)
            starts.insert(place, span.start)
    return chosen


def fold(text: str) -> str:
    """`text` with the digits of every script, full-width letters and signs, dashes and spaces as ASCII: character by
    character, so that places stay. Full-width commas and stops end a number and stay as they are."""
    return text if text.isascii() else text.translate(FOLDED)


FOLDED: dict[int, str] = {point: chr(point - 0xFEE0) for point in range(0xFF01, 0xFF5F) if chr(point) not in "，！；～"}
FOLDED |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-")
FOLDED |= dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
FOLDED |= dict.fromkeys(range(0xD800, 0xE000), "?")  # no encoding can hold half a surrogate pair
FOLDED |= {
    point: str(unicodedata.decimal(chr(point)))
    for point in range(0x80, 0x20000)
    if unicodedata.decimal(chr(point), None) is not None
}
