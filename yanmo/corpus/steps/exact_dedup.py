"""Keeps one of all documents, or of all paragraphs or lines, with the same text, as it stands after the steps before.

Of equal documents the one with the smallest content id stays, and of those with the same id (equal when read, too) the
first in the corpus: the choice does not depend on how the files are ordered or divided. Only hashes of texts that occur
twice travel between processes.

Paragraphs and lines are compared without the blanks around them. The copy in the document with the smallest content id
stays, within a document the first; later ones are cut out of the text (`copies.py`), wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import xxhash
from pydantic import Field

from yanmo.core.data import Document, Rejection, content_id
from yanmo.corpus.copies.copies import Place, Verdict, cut_document, rank_of, unpacked, verdicts
from yanmo.corpus.dataset import Dataset
from yanmo.corpus.step import Step

Member = tuple[str, int, int]  # id, order, how many it stands for

UNITS = {
    "line": re.compile(r"\S[^\n]*"),
    "paragraph": re.compile(r"\S[^\n]*(?:\n(?![^\S\n]*(?:\n|\Z))[^\n]*)*"),  # up to a blank line
}


class ExactDedup(Step):
    """Keeps the first of documents, paragraphs or lines with the very same text.

    `unit`: what is compared. Of paragraphs and lines: those of at least `min_chars` characters are compared; a document
    that is left with less than `min_left` of its characters is dropped."""

    type: str = "exact_dedup"
    unit: Literal["document", "paragraph", "line"] = "document"
    min_chars: int = Field(default=20, ge=1)
    min_left: float = Field(default=0.2, ge=0, le=1)

    def apply(self, docs: Dataset) -> Dataset:
        if self.unit == "document":
            firsts = docs.group(key=content, value=member, reduce=smallest).map(repeated)
            return docs.join(firsts, key=content).map(self.flag)
        return docs.join(verdicts(docs.map(self.places), self.min_left), key=order_of).map(self.cut)

    def flag(self, rows: Iterator[tuple[Document, Member | None]]) -> Iterator[Document]:
        for doc, first in rows:
            if first is not None and first[1] != doc.order:
                doc.rejection = Rejection(self.type, "duplicate", first[0])
            yield doc

    def places(self, docs: Iterator[Document]) -> Iterator[Place]:
        """Each long enough unit of each document, in code points."""
        for doc in docs:
            if doc.rejection is not None:
                continue
            found = units(doc.text, self.unit)
            total, rank = sum(len(body) for _, body in found), rank_of(doc)
            for start, body in found:
                if len(body) >= self.min_chars:
                    key = xxhash.xxh3_128_digest(body.encode("utf-8", "surrogatepass"))
                    yield key, rank, doc.order, start, len(body), total

    def cut(self, rows: Iterator[tuple[Document, Verdict | None]]) -> Iterator[Document]:
        for doc, verdict in rows:
            cut_document(self.type, doc, verdict, unpacked(verdict[0]).tolist() if verdict else ())
            yield doc


def units(text: str, unit: str) -> list[tuple[int, str]]:
    """(start, text) of each line or paragraph that is not blank, without the blanks around it."""
    return [(found.start(), found.group().rstrip()) for found in UNITS[unit].finditer(text)]


def order_of(doc: Document) -> int:
    return doc.order


def content(doc: Document) -> str | None:
    return content_id(doc.text) if doc.rejection is None else None


def member(doc: Document) -> Member:
    return doc.id, doc.order, 1


def smallest(a: Member, b: Member) -> Member:
    """The member with the smaller (id, order), standing for the others too."""
    first = a if a[:2] <= b[:2] else b
    return first[0], first[1], a[2] + b[2]


def repeated(rows: Iterator[tuple[Any, Member]]) -> Iterator[tuple[Any, Member]]:
    return (row for row in rows if row[1][2] > 1)
