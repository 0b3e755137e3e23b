"""CSV and TSV with a header line: one row a document, one of the columns the text.

Quoted fields may hold line breaks, so a file is read from its start by one worker; large corpora are better kept as
Parquet or JSON lines. Origins are row numbers, the header not counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar

from pydantic import Field, field_validator

from yanmo.core.data import Document, Origin
from yanmo.core.messages import text
from yanmo.corpus.source import RowSource, Shard, written_shards


class CsvSource(RowSource):
    """CSV and TSV with a header line: one document a row.

    `delimiter`: None is the tabulator for .tsv and the comma for the rest."""

    type: str = "csv"
    delimiter: str | None = None
    max_line_bytes: int = Field(default=16 << 20, gt=0)

    endings: ClassVar[tuple[str, ...]] = (".csv", ".tsv")

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"'):
            raise ValueError(str(text("one character")))
        return delimiter

    def shards(self) -> list[Shard]:
        return [shard for _, file in self.located() for shard in written_shards(file, file.stat().st_size, cut=False)]

    def documents(self, shard: Shard) -> Iterator[Document]:
        if shard.end == 0:
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "empty_file")
            return
        path = shard.path
        header: list[str] | None = None
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
            lines = _Lines(handle, self.max_line_bytes)
            csv.field_size_limit(max(self.max_line_bytes, 1 << 17))
            reader = csv.reader(lines, delimiter=self._separator(path), strict=True)
            number = 0
            while True:
                line = lines.number + 1
                try:
                    row = next(reader)
                except StopIteration:
                    break
                except csv.Error as error:
                    yield self._bad(shard, number, "", str(error), line)
                    number += 1
                    continue
                if not row:
                    continue  # a blank line
                if header is None:
                    header = row
                    continue
                yield self._row(header, row, shard, number, line)
                number += 1
            for line in lines.long:
                yield self.quarantined("", Origin(shard.file, None, number, number), "line_too_long", None, line=line)
        if not number and not lines.long:
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "empty_file")

    def _row(self, header: list[str], row: list[str], shard: Shard, number: int, line: int) -> Document:
        raw = ",".join(row)
        try:
            raw.encode("utf-8")
        except UnicodeEncodeError as error:
            value = f"byte 0x{ord(raw[error.start]) & 0xFF:02x}"
            shown = raw.encode("utf-8", "surrogateescape")
            return self.quarantined(shown, Origin(shard.file, None, number, number + 1), "invalid_encoding", value, line=line)
        if len(row) > len(header):
            return self._bad(shard, number, raw, f"{len(row)} columns, {len(header)} in the header", line)
        doc = self.document(dict(zip(header, row)), Origin(shard.file, None, number, number + 1), raw)
        if doc.rejection is not None:
            doc.meta["line"] = line
        return doc

    def _bad(self, shard: Shard, number: int, raw: str, why: str, line: int) -> Document:
        return self.quarantined(raw, Origin(shard.file, None, number, number + 1), "bad_row", why, line=line)

    def _separator(self, path: Path) -> str:
        return self.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")

    def expects(self) -> Any:
        return text("rows in UTF-8 below a header line")


class _Lines:
    """The lines of a file, none above the limit held: `long` are the numbers of those passed over."""

    def __init__(self, handle: IO[str], limit: int):
        self.handle, self.limit, self.number, self.long = handle, limit, 0, list[int]()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            line = self.handle.readline(self.limit)
            if not line:
                raise StopIteration
            self.number += 1
            if len(line) < self.limit or line.endswith("\n"):
                return line
            self.long.append(self.number)
            while (rest := self.handle.readline(self.limit)) and not rest.endswith("\n"):
                pass
