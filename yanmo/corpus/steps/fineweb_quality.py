"""FineWeb's own quality rules (Penedo et al. 2024, section 3.6): lines without full stop, short lines, repeated lines, lists.

The English thresholds are FineWeb's, the Chinese ones FineWeb-2's for Chinese in Han characters (Penedo et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from yanmo.core.data import Document, Rejection
from yanmo.corpus.steps.gopher_repetition import duplicates
from yanmo.corpus.steps.thresholds import LanguageFilter, Ratio
from yanmo.corpus.words.words import TERMINALS, words_of

ENGLISH = {"line_punct_ratio": 0.12, "short_line_ratio": 0.67, "char_duplicates_ratio": 0.01, "new_line_ratio": 0.3}
CHINESE = {"line_punct_ratio": 0.106, "short_line_ratio": None, "char_duplicates_ratio": 0.1, "new_line_ratio": 0.178}


class FinewebQuality(LanguageFilter):
    """FineWeb's quality rules: lines without full stop, short lines, repeated lines, lists.

    `line_punct_ratio`: lines that end in a mark that ends sentences, at least (en 0.12, zh 0.106);
    `line_punct_exclude_zero`: a text without any such line passes. `short_line_ratio`: lines of at most `short_line_length`
    characters, at most (en 0.67, zh off). `char_duplicates_ratio`: characters in lines that stood before, at most (en 0.01,
    zh 0.1). `new_line_ratio`: line feeds a word, at most (en 0.3, zh 0.178). `stop_chars`: the marks; null: every script's."""

    type: str = "fineweb_quality"
    line_punct_ratio: Ratio = "language"
    line_punct_exclude_zero: bool = False
    stop_chars: str | None = Field(default=None, min_length=1)
    short_line_ratio: Ratio = "language"
    short_line_length: int = Field(default=30, ge=0)
    char_duplicates_ratio: Ratio = "language"
    new_line_ratio: Ratio = "language"

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"en": ENGLISH, "zh": CHINESE}

    def reject(self, doc: Document) -> Rejection | None:
        text = doc.text
        feeds = text.count("\n")
        lines = [line for line in text.split("\n") if line and not line.isspace()]
        if not lines:
            return Rejection(self.type, "empty", None)
        language, marks = self.spoken(doc), TERMINALS if self.stop_chars is None else self.stop_chars

        limit = self.threshold("line_punct_ratio", language)
        ended = sum(line[-1] in marks for line in lines) / len(lines)
        if limit is not None and ended < limit and not (ended == 0 and self.line_punct_exclude_zero):
            return Rejection(self.type, "line_punct_ratio", ended)

        short = sum(len(line) <= self.short_line_length for line in lines) / len(lines)
        if self._above("short_line_ratio", language, short):
            return Rejection(self.type, "short_line_ratio", short)

        repeated = duplicates(lines)[1] / (len(text) - feeds)
        if self._above("char_duplicates_ratio", language, repeated):
            return Rejection(self.type, "char_dup_ratio", repeated)

        lists = feeds / words_of(doc, self.language).count if feeds else 0.0
        if self._above("new_line_ratio", language, lists):
            return Rejection(self.type, "list_ratio", lists)
        return None

    def _above(self, field: str, language: str, value: float) -> bool:
        limit = self.threshold(field, language)
        return limit is not None and value > limit
