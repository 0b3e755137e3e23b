"""Gopher's quality rules (Rae et al. 2021, table A1): texts that are too short, lists, symbols, no sentences of a language.

The English thresholds are Gopher's, the Chinese ones FineWeb-2's for Chinese in Han characters (Penedo et al. 2025). Words
are those of `words.py`, punctuation among them. The first rule that fails, in the order of the fields, is the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal

from yanmo.core.data import Document, Rejection
from yanmo.corpus.steps.thresholds import Count, LanguageFilter, Ratio
from yanmo.corpus.words.words import LETTER, SYMBOL, Hashes, hashes_of, words_of

ENGLISH: dict[str, Any] = {
    "min_doc_words": 50, "max_doc_words": 100_000, "min_avg_word_length": 3.0, "max_avg_word_length": 10.0,
    "max_symbol_word_ratio": 0.1, "max_bullet_lines_ratio": 0.9, "max_ellipsis_lines_ratio": 0.3,
    "min_alpha_words_ratio": 0.8, "min_stop_words": 2, "stop_words": ("the", "be", "to", "of", "and", "that", "have", "with"),
}  # fmt: skip
CHINESE: dict[str, Any] = {
    **ENGLISH, "min_avg_word_length": 1.0, "max_avg_word_length": 5.0, "min_alpha_words_ratio": 0.735,
    "stop_words": tuple("的年在月是和日了於·為有被人中为他與後也而由"),
}  # fmt: skip


class GopherQuality(LanguageFilter):
    """Gopher's quality rules: how many words, how long, symbols, bullets, ellipses, letters, stop words.

    `min_doc_words`, `max_doc_words`: words that are not symbols alone (50 to 100000). `min_avg_word_length`,
    `max_avg_word_length`: their mean length in characters (en 3 to 10, zh 1 to 5). `max_symbol_word_ratio`: `#`, or ellipses,
    a word (0.1). `max_bullet_lines_ratio`: lines that begin with • or - (0.9). `max_ellipsis_lines_ratio`: lines that end in
    … (0.3). `min_alpha_words_ratio`: words with a letter (en 0.8, zh 0.735). `min_stop_words`: how many different
    `stop_words` there must be (2)."""

    type: str = "gopher_quality"
    min_doc_words: Count = "language"
    max_doc_words: Count = "language"
    min_avg_word_length: Ratio = "language"
    max_avg_word_length: Ratio = "language"
    max_symbol_word_ratio: Ratio = "language"
    max_bullet_lines_ratio: Ratio = "language"
    max_ellipsis_lines_ratio: Ratio = "language"
    min_alpha_words_ratio: Ratio = "language"
    min_stop_words: Count = "language"
    stop_words: list[str] | Literal["language"] = "language"

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"en": ENGLISH, "zh": CHINESE}

    def reject(self, doc: Document) -> Rejection | None:
        text, words, language = doc.text, words_of(doc, self.language), self.spoken(doc)
        total = words.count or 1  # a text without words has none of anything

        solid = (words.flags & SYMBOL) == 0
        count = int(solid.sum())
        if self._below("min_doc_words", language, count):
            return self._because("short_doc", count)
        if self._above("max_doc_words", language, count):
            return self._because("long_doc", count)

        length = int(words.lengths[solid].sum()) / (count or 1)
        if self._below("min_avg_word_length", language, length):
            return self._because("below_avg_threshold", length)
        if self._above("max_avg_word_length", language, length):
            return self._because("above_avg_threshold", length)

        hashes = text.count("#") / total
        if self._above("max_symbol_word_ratio", language, hashes):
            return self._because("too_many_hashes", hashes)
        ellipses = (text.count("...") + text.count("…")) / total
        if self._above("max_symbol_word_ratio", language, ellipses):
            return self._because("too_many_ellipsis", ellipses)

        if "•" in text or "-" in text or ellipses:
            lines = text.splitlines() or [""]
            bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines)
            if self._above("max_bullet_lines_ratio", language, bullets):
                return self._because("too_many_bullets", bullets)
            ends = sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines)
            if self._above("max_ellipsis_lines_ratio", language, ends):
                return self._because("too_many_end_ellipsis", ends)

        letters = words.having(LETTER) / total
        if self._below("min_alpha_words_ratio", language, letters):
            return self._because("below_alpha_threshold", letters)

        wanted = self.threshold("min_stop_words", language)
        if wanted:
            found = words.known(stop_hashes(tuple(self.threshold("stop_words", language))))
            if found < wanted:
                return self._because("enough_stop_words", found)
        return None

    def _below(self, field: str, language: str, value: float) -> bool:
        limit = self.threshold(field, language)
        return limit is not None and value < limit

    def _above(self, field: str, language: str, value: float) -> bool:
        limit = self.threshold(field, language)
        return limit is not None and value > limit

    def _because(self, reason: str, value: float) -> Rejection:
        return Rejection(self.type, f"gopher_{reason}", value)


@cache
def stop_hashes(words: tuple[str, ...]) -> Hashes:
    return hashes_of(dict.fromkeys(words))
