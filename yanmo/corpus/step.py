"""What happens to documents between reading and writing: steps that edit, steps that reject, steps that compare.

A rejected document is not taken out of the stream: it flows on with its `Rejection`, later steps skip it, and the
writer keeps it with the reason. A quarantined row (see `source.py`) is treated the same.

What a step learns of a document it leaves in `meta`: `scores` {name: number}, `language` (a tag such as 'zh'), `pii`
{kind: how many}. The writer gives these columns and counts of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yanmo.core.config import Part
from yanmo.core.data import Document, Rejection
from yanmo.corpus.dataset import Dataset


class Step(Part):
    def apply(self, docs: Dataset) -> Dataset:
        """`docs` with what this step found out: texts edited, documents rejected. No document is added or taken away."""
        raise NotImplementedError

    def files(self) -> list[Path]:
        """The user's files that this step reads (lists, examples): the corpus depends on their bytes. Raises DataError."""
        return []

    def report(self) -> dict[str, Any]:
        """What the corpus's statistics say of this step after its work: flat, and the same in every run. Nothing by default."""
        return {}

    def check(self) -> None:
        """Raises what can be known to be wrong before any work: a library that is missing, a list that cannot be read."""


class RowStep(Step):
    """A step that looks at one document at a time; neighbours in a recipe are fused into one pass."""

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        raise NotImplementedError

    def apply(self, docs: Dataset) -> Dataset:
        return docs.map(self.rows)


class Filter(RowStep):
    def reject(self, doc: Document) -> Rejection | None:
        """Why the document is dropped, or None."""
        raise NotImplementedError

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        for doc in docs:
            if doc.rejection is None:
                doc.rejection = self.reject(doc)
            yield doc


class Edit(RowStep):
    """Sees the text alone, so that it cannot touch the id or the origin. A text left blank is dropped as 'empty'."""

    def edit(self, text: str) -> str:
        raise NotImplementedError

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        for doc in docs:
            if doc.rejection is None:
                edited = self.edit(doc.text)
                if edited and not edited.isspace():
                    doc.text = edited
                else:  # the text as it was stays with the record of what was dropped
                    doc.rejection = Rejection(self.type, "empty", None)
            yield doc


def apply(steps: list[Step], docs: Dataset) -> Dataset:
    """The steps in their order. What goes into a step that compares documents is worked out once, for it reads it twice."""
    for step in steps:
        docs = step.apply(docs if isinstance(step, RowStep) else docs.persist())
    return docs
