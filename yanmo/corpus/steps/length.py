"""Drops documents that are too short or too long, in characters (Unicode code points)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from yanmo.core.data import Document, Rejection
from yanmo.core.messages import text
from yanmo.corpus.step import Filter


class Length(Filter):
    """Drops documents shorter or longer than so many characters."""

    type: str = "length"
    min_chars: int = Field(default=1, ge=0)
    max_chars: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ValueError(str(text("max_chars of at least min_chars ({min_chars})", min_chars=self.min_chars)))
        return self

    def reject(self, doc: Document) -> Rejection | None:
        length = len(doc.text)
        if length < self.min_chars:
            return Rejection(self.type, "too_short", length)
        if self.max_chars is not None and length > self.max_chars:
            return Rejection(self.type, "too_long", length)
        return None
