"""Parallel text as lines of columns between tabulators, plain or compressed: a sentence and its translation a line.

Nothing is quoted or escaped, so a file is read by byte ranges as JSON lines are, and origins are the bytes of lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, ClassVar, Literal

from pydantic import Field, field_validator

from yanmo.core.data import Document, Origin
from yanmo.core.messages import text
from yanmo.corpus.formats import compressed
from yanmo.corpus.formats.compressed import Damage
from yanmo.corpus.formats.lines import Numbers, lines
from yanmo.corpus.formats.parallel import PairSource
from yanmo.corpus.source import Shard
from yanmo.corpus.sources.jsonl import line_documents, line_shards

Column = Literal["source", "target", "context"]


class TsvSource(PairSource):
    """Pairs of sentences in tab-separated lines, plain or compressed: one document a pair.

    `columns`: which column, counted from 0, is the source, the target and, if there is one, the context. `header`: whether
    the first line names the columns. `side`: which text the document is: 'source', 'target', or 'both', one below the
    other. `languages`: {source: en, target: zh}, for the meta."""

    type: str = "tsv"
    columns: dict[Column, int] = Field(default={"source": 0, "target": 1})
    header: bool = False
    max_line_bytes: int = Field(default=16 << 20, gt=0)

    endings: ClassVar[tuple[str, ...]] = compressed.with_compressed((".tsv", ".txt"))

    @field_validator("columns")
    @classmethod
    def _two(cls, columns: dict[str, int]) -> dict[str, int]:
        if not {"source", "target"} <= set(columns) or min(columns.values()) < 0:
            raise ValueError(str(text("the columns of 'source' and 'target', counted from 0")))
        return columns

    def shards(self) -> list[Shard]:
        return line_shards(self)

    def documents(self, shard: Shard) -> Iterator[Document]:
        return line_documents(self, shard, self.rows)

    def rows(self, handle: IO[bytes], origin: Origin, numbers: Numbers) -> Iterator[Document]:
        """The pairs of the lines that begin in [start, end) of the origin's file or member (end -1: of all of it)."""
        position, heading = origin.start, self.header and origin.start == 0
        try:
            for start, end, line in lines(handle, origin.start, None if origin.end < 0 else origin.end, self.max_line_bytes):
                number, position = numbers.next(), end
                place = Origin(origin.file, origin.member, start, end)
                if heading:
                    heading = False
                elif line is None:
                    yield self.quarantined("", place, "line_too_long", end - start, line=numbers.of(number))
                elif line.strip():
                    yield self._pair(line, place, numbers, number)
        except Damage as damage:
            damage.position = position
            raise

    def _pair(self, line: bytes, origin: Origin, numbers: Numbers, number: int) -> Document:
        try:
            found = line.decode("utf-8").split("\t")
        except UnicodeDecodeError as error:
            value = f"byte 0x{line[error.start]:02x} at {error.start}"
            return self.quarantined(line, origin, "invalid_encoding", value, line=numbers.of(number))
        needed = max(self.columns["source"], self.columns["target"]) + 1
        if len(found) < needed:
            return self.quarantined(line, origin, "bad_row", f"{len(found)} columns of {needed}", line=numbers.of(number))
        context = self.columns.get("context", len(found))
        doc = self.pair(found[self.columns["source"]], found[self.columns["target"]], origin, line, {},
                        context=found[context] if context < len(found) else None)  # fmt: skip
        if doc.rejection is not None:
            doc.meta["line"] = numbers.of(number)
        return doc

    def check(self) -> None:
        compressed.check([file for _, file in self.located()], self.type)
        super().check()

    def expects(self) -> Any:
        return text("columns between tabulators, in UTF-8")
