"""mC4's rule (Xue et al. 2021): a page needs a few long lines, whatever they end in."""

from __future__ import annotations

from pydantic import Field

from yanmo.core.data import Document, Rejection
from yanmo.corpus.step import Filter


class C4Paragraphs(Filter):
    """Keeps texts with enough long lines: `min_paragraphs` of at least `min_paragraph_length` characters."""

    type: str = "c4_paragraphs"
    min_paragraphs: int = Field(default=3, ge=1)
    min_paragraph_length: int = Field(default=200, ge=1)

    def reject(self, doc: Document) -> Rejection | None:
        found = sum(len(line) >= self.min_paragraph_length for line in doc.text.split("\n"))
        return Rejection(self.type, "too_few_paragraphs", found) if found < self.min_paragraphs else None
