"""JSON lines, plain or gzipped: one object a line, one of its fields the text.

A plain file is read by byte ranges: a shard takes the lines that begin in it, so that one large file feeds every
worker. A gzipped file is one shard, and its origins count decompressed bytes. A line that is not valid UTF-8, not JSON,
not an object, or longer than `max_line_bytes` is quarantined with its number, and reading goes on behind it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, cast

from pydantic import Field

from yanmo.core.data import Document, Origin
from yanmo.core.messages import text
from yanmo.corpus.source import RowSource, Shard, written_shards

BOM = b"\xef\xbb\xbf"


class JsonlSource(RowSource):
    """JSON Lines, plain or gzipped: one object a line, one document an object."""

    type: str = "jsonl"
    max_line_bytes: int = Field(default=16 << 20, gt=0)

    endings: ClassVar[tuple[str, ...]] = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz")

    def shards(self) -> list[Shard]:
        found: list[Shard] = []
        for _, file in self.located():
            size = file.stat().st_size
            zipped = file.suffix.lower() == ".gz"
            found += written_shards(file, size, file.stem if zipped else None, cut=not zipped)
        return found

    def documents(self, shard: Shard) -> Iterator[Document]:
        if shard.end == 0:
            yield self.quarantined("", Origin(shard.file, shard.member, 0, 0), "empty_file")
            return
        path = shard.path
        numbers = _Numbers(path, shard.start)
        with _opened(path, zipped=bool(shard.member)) as handle:
            position = shard.start
            lines = _lines(handle, shard.start, None if shard.member else shard.end, self.max_line_bytes)
            try:
                for start, end, line in lines:
                    number, position = numbers.next(), end
                    origin = Origin(shard.file, shard.member, start, end)
                    if line is None:
                        yield self.quarantined("", origin, "line_too_long", end - start, line=numbers.of(number))
                    elif line.strip():
                        yield self._document(line, origin, numbers, number)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                reason = "truncated_gzip" if isinstance(error, EOFError) else "bad_gzip"
                yield self.quarantined("", Origin(shard.file, shard.member, position, position), reason, str(error))

    def _document(self, line: bytes, origin: Origin, numbers: _Numbers, number: int) -> Document:
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_no_number)
        except UnicodeDecodeError as error:
            value = f"byte 0x{line[error.start]:02x} at {error.start}"
            return self.quarantined(line, origin, "invalid_encoding", value, line=numbers.of(number))
        except json.JSONDecodeError as error:
            return self.quarantined(line, origin, "bad_json", f"{error.msg} at {error.pos}", line=numbers.of(number))
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets nested without end
            return self.quarantined(line, origin, "bad_json", str(error), line=numbers.of(number))
        if not isinstance(row, dict):
            return self.quarantined(line, origin, "not_an_object", type(row).__name__, line=numbers.of(number))
        doc = self.document(row, origin, line)
        if doc.rejection is not None:
            doc.meta["line"] = numbers.of(number)
        return doc

    def expects(self) -> Any:
        return text("one JSON object a line")


def _opened(path: Path, *, zipped: bool) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if zipped else open(path, "rb")


def _no_number(name: str) -> None:
    """NaN and Infinity, which JSON does not have but Python's writer leaves behind, are read as null."""


class _Numbers:
    """Line numbers within the file. Those before a shard are counted only when the first bad line asks for them."""

    def __init__(self, path: Path, start: int):
        self.path, self.start, self.seen, self.before = path, start, 0, 0 if start == 0 else -1

    def next(self) -> int:
        self.seen += 1
        return self.seen

    def of(self, number: int) -> int:
        if self.before < 0:
            self.before, last, left = 0, b"\n", self.start
            with open(self.path, "rb") as handle:
                while left > 0 and (chunk := handle.read(min(left, 1 << 20))):
                    self.before, last, left = self.before + chunk.count(b"\n"), chunk[-1:], left - len(chunk)
            self.before += last != b"\n"  # the line that began before the shard belongs to the one before
        return self.before + number


def _lines(handle: IO[bytes], start: int, end: int | None, limit: int) -> Iterator[tuple[int, int, bytes | None]]:
    """(first byte, byte behind the last, content without line end) of each line that begins in [start, end).

    The content is None for a line above `limit` bytes, which is passed over without being held."""
    position = start
    if start > 0:
        handle.seek(start - 1)
        position = start - 1 + _skip(handle)
    while end is None or position < end:
        line = handle.readline(limit + 2)
        if not line:
            return
        begin, position = position, position + len(line)
        if len(line) == limit + 2 and not line.endswith(b"\n"):
            position += _skip(handle)
            yield begin, position, None
            continue
        if begin == 0 and line.startswith(BOM):
            begin, line = len(BOM), line[len(BOM) :]
        content = line.rstrip(b"\r\n")
        yield begin, begin + len(content), content if len(content) <= limit else None


def _skip(handle: IO[bytes]) -> int:
    """Reads to the end of the line; how many bytes that were."""
    skipped = 0
    while chunk := handle.readline(1 << 20):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped
