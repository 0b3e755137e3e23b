"""Gopher's repetition rules (Rae et al. 2021, table A1): paragraphs, lines and n-grams that come again and again.

The English thresholds are Gopher's, the Chinese ones FineWeb-2's for Chinese in Han characters (Penedo et al. 2025). All
fractions are of the text's characters but `dup_para_frac` and `dup_line_frac`, which count paragraphs and lines; of equal
ones the second and later are the duplicates. The first rule that fails is the reason: paragraphs, lines, the most frequent
n-gram by growing n, the n-grams that come again by growing n.

n-grams are counted by their hashes (`words.py`); their lengths come from the words' lengths, so that every value is the
definition's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from yanmo.core.data import Document, Rejection
from yanmo.corpus.steps.thresholds import LanguageFilter, Ratio, Ratios
from yanmo.corpus.words.words import Hashes, Words, words_of

ENGLISH: dict[str, Any] = {
    "dup_para_frac": 0.3, "dup_para_char_frac": 0.2, "dup_line_frac": 0.3, "dup_line_char_frac": 0.2,
    "top_n_grams": {2: 0.2, 3: 0.18, 4: 0.16}, "dup_n_grams": {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
}  # fmt: skip
CHINESE: dict[str, Any] = {
    "dup_para_frac": None, "dup_para_char_frac": None, "dup_line_frac": 0.287, "dup_line_char_frac": None,
    "top_n_grams": {2: 0.256, 3: 0.201, 4: 0.171}, "dup_n_grams": {5: 0.198, 6: 0.182, 7: 0.167, 8: 0.154, 9: 0.14, 10: 0.127},
}  # fmt: skip


class GopherRepetition(LanguageFilter):
    """Gopher's repetition rules: paragraphs, lines and n-grams that occur again and again.

    `dup_para_frac`, `dup_line_frac`: paragraphs or lines that stood before (en 0.3; zh off, 0.287); `dup_para_char_frac`,
    `dup_line_char_frac`: their characters (en 0.2; zh off). `top_n_grams`: for n words, the characters that the most frequent
    n-gram may cover (en 0.2 to 0.16 for 2 to 4 words; zh 0.256 to 0.171). `dup_n_grams`: for n words, the characters in
    n-grams that occurred before (en 0.15 to 0.1 for 5 to 10 words; zh 0.198 to 0.127)."""

    type: str = "gopher_repetition"
    dup_para_frac: Ratio = "language"
    dup_para_char_frac: Ratio = "language"
    dup_line_frac: Ratio = "language"
    dup_line_char_frac: Ratio = "language"
    top_n_grams: Ratios = "language"
    dup_n_grams: Ratios = "language"

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"en": ENGLISH, "zh": CHINESE}

    def reject(self, doc: Document) -> Rejection | None:
        text = doc.text
        if not text:
            return Rejection(self.type, "empty", None)
        language = self.spoken(doc)
        for name, parts in (("para", paragraphs_of(text)), ("line", lines_of(text))):
            count, characters = duplicates(parts)
            for field, value in ((f"dup_{name}_frac", count / len(parts)), (f"dup_{name}_char_frac", characters / len(text))):
                limit = self.threshold(field, language)
                if limit is not None and value > limit:
                    return Rejection(self.type, field, value)

        words = words_of(doc, self.language)
        tops = self.threshold("top_n_grams", language)
        for length, hashes in enumerate(words.grams(max(tops, default=0), blank=True), 1):
            if length in tops and len(hashes):
                share = top_characters(words, hashes, length) / len(text)
                if share > tops[length]:
                    return Rejection(self.type, f"top_{length}_gram", share)
        again = self.threshold("dup_n_grams", language)
        for length, hashes in enumerate(words.grams(max(again, default=0), blank=False), 1):
            if length in again and len(hashes):
                share = repeated_characters(words, hashes, length) / len(text)
                if share > again[length]:
                    return Rejection(self.type, f"duplicated_{length}_n_grams", share)
        return None


def paragraphs_of(text: str) -> list[str]:
    """What stands between two or more line feeds, in the text without the blanks around it."""
    return [part for piece in text.strip().split("\n\n") if (part := piece.lstrip("\n"))] or [""]


def lines_of(text: str) -> list[str]:
    """What stands between line feeds, however many; an empty one before a first and behind a last one."""
    lines = [line for line in text.split("\n") if line]
    return [""] * text.startswith("\n") + lines + [""] * (text.endswith("\n") or not text)


def duplicates(parts: list[str]) -> tuple[int, int]:
    """How many of `parts` stood in the list before, and their characters."""
    unique = set(parts)
    if len(unique) == len(parts):
        return 0, 0
    return len(parts) - len(unique), sum(map(len, parts)) - sum(map(len, unique))


def top_characters(words: Words, hashes: Hashes, length: int) -> int:
    """Characters of the most frequent n-gram, its blanks counted, times its frequency; of several the first in the text."""
    ordered = np.sort(hashes)
    edges = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    edges = np.concatenate([[0], edges, [len(ordered)]])
    counts = edges[1:] - edges[:-1]
    most = int(counts.max())
    if most == 1:
        place = 0
    else:
        frequent = ordered[edges[:-1][counts == most]]
        place = int((hashes == frequent[0] if len(frequent) == 1 else np.isin(hashes, frequent)).argmax())
    reach = words.reach
    return (int(reach[place + length] - reach[place]) + length - 1) * most


def repeated_characters(words: Words, hashes: Hashes, length: int) -> int:
    """Characters of n-grams that occurred before, from left to right; a repeated one is passed over as a whole."""
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice) == 0:
        return 0
    places = np.flatnonzero(np.isin(hashes, twice))  # all others are passed one by one and match nothing
    spans = words.spans(length)[places].tolist()
    seen: set[int] = set()
    total = free = 0
    for place, hashed, characters in zip(places.tolist(), hashes[places].tolist(), spans):
        if place < free:
            continue
        if hashed in seen:
            total += characters
            free = place + length
        else:
            seen.add(hashed)
    return total
