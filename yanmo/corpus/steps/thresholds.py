"""Filters whose thresholds differ by language: a number set in a recipe holds for all documents, the rest follow each one's
own language. `language` as the value of a threshold means just that; null turns its rule off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from yanmo.core.data import Document
from yanmo.core.messages import text
from yanmo.corpus.step import Filter
from yanmo.corpus.words import words

Ratio = float | Literal["language"] | None
Count = int | Literal["language"] | None
Ratios = dict[int, float] | Literal["language"]  # words of an n-gram: threshold


class LanguageFilter(Filter):
    """`language`: whose thresholds and words hold (en, zh); null: the thresholds of each document's language, the words of each
    script. A filter that is told the language decides as datatrove's of that language."""

    language: Literal["en", "zh"] | None = None

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]]  # language → field → value

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any) -> Any:
        for length in value if isinstance(value, dict) else ():
            if length < 1:
                raise ValueError(str(text("a number of at least {limit}", limit=1)))
        for number in value.values() if isinstance(value, dict) else (value,):
            if isinstance(number, int | float) and not 0 <= number < math.inf:
                raise ValueError(str(text("a number of at least {limit}", limit=0)))
        return value

    def check(self) -> None:
        words.check(self.type)

    def spoken(self, doc: Document) -> Literal["en", "zh"]:
        """The language whose thresholds hold for a document."""
        return self.language or words.language_of(doc)

    def threshold(self, field: str, language: str) -> Any:
        value = getattr(self, field)
        return self.defaults[language][field] if value == "language" else value
