"""Parallel text as lines of columns between tabulators, plain or compressed: a sentence and its translation a line.

Nothing is quoted or escaped, so a file is read by byte ranges as JSON lines are, and origins are the bytes of lines.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from yanmo.core.data import Document, Origin
from yanmo.core.messages import text
from yanmo.corpus.formats import compression
from yanmo.corpus.formats.line_source import LineSource
from yanmo.corpus.formats.parallel import PairSource

Column = Literal["source", "target", "context"]


class TsvSource(LineSource, PairSource):
    """Pairs of sentences in tab-separated lines, plain or compressed: one document a pair.

    `columns`: which column, counted from 0, is the source, the target and, if there is one, the context. `header`: whether
    the first line names the columns. `side`: which text the document is: 'source', 'target', or 'both', one below the
    other. `languages`: {source: en, target: zh}, for the meta."""

    type: str = "tsv"
    columns: dict[Column, int] = Field(default={"source": 0, "target": 1})
    header: bool = False

    endings: ClassVar[tuple[str, ...]] = compression.with_compressed((".tsv", ".txt"))

    @field_validator("columns")
    @classmethod
    def _two(cls, columns: dict[str, int]) -> dict[str, int]:
        if not {"source", "target"} <= set(columns) or min(columns.values()) < 0:
            raise ValueError(str(text("the columns of 'source' and 'target', counted from 0")))
        return columns

    @property
    def headed(self) -> bool:
        return self.header

    def document_of(self, line: bytes, origin: Origin) -> Document:
        found = line.decode("utf-8").split("\t")
        needed = max(self.columns["source"], self.columns["target"]) + 1
        if len(found) < needed:
            return self.quarantined(line, origin, "bad_row", f"{len(found)} columns of {needed}")
        context = self.columns.get("context", len(found))
        return self.pair(found[self.columns["source"]], found[self.columns["target"]], origin, line, {},
                         context=found[context] if context < len(found) else None)  # fmt: skip

    def expects(self) -> Any:
        return text("columns between tabulators, in UTF-8")
