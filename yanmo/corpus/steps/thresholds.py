"""Filters whose thresholds differ by language: a number set in a recipe holds for all documents, the rest follow each one's
own language. `language` as the value of a threshold means just that; null turns its rule off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from yanmo.core.data import Document
from yanmo.corpus import words
from yanmo.corpus.step import Filter

Ratio = Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["language"] | None
Count = Annotated[int, Field(ge=0)] | Literal["language"] | None
Ratios = dict[Annotated[int, Field(ge=1, le=100)], Annotated[float, Field(ge=0, allow_inf_nan=False)]] | Literal["language"]
"""Words in an n-gram: threshold."""


class LanguageFilter(Filter):
    """`language`: whose thresholds hold (en, zh); null: those of each document's language."""

    language: Literal["en", "zh"] | None = None

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]]  # language → field → value

    def check(self) -> None:
        words.check(self.type)

    def spoken(self, doc: Document) -> Literal["en", "zh"]:
        """The language whose thresholds hold for a document."""
        return self.language or words.language_of(doc)

    def threshold(self, field: str, language: str) -> Any:
        value = getattr(self, field)
        return self.defaults[language][field] if value == "language" else value
