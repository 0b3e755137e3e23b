"""Keeps one of all documents with the same text, as it stands after the steps before.

Of equal texts the one with the smallest content id stays, and of those with the same id (equal when read, too) the
first in the corpus: the choice does not depend on how the files are ordered or divided. Only hashes of texts that occur
twice travel between processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yanmo.core.data import Document, Rejection, content_id
from yanmo.corpus.dataset import Dataset
from yanmo.corpus.step import Step

Member = tuple[str, int, int]  # id, order, how many it stands for


class ExactDedup(Step):
    """Keeps the first of documents with the very same text."""

    type: str = "exact_dedup"

    def apply(self, docs: Dataset) -> Dataset:
        firsts = docs.group(key=content, value=member, reduce=smallest).map(repeated)
        return docs.join(firsts, key=content).map(self.flag)

    def flag(self, rows: Iterator[tuple[Document, Member | None]]) -> Iterator[Document]:
        for doc, first in rows:
            if first is not None and first[1] != doc.order:
                doc.rejection = Rejection(self.type, "duplicate", first[0])
            yield doc


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
