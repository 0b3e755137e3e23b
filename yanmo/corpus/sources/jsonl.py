"""JSON lines, plain or compressed: one object a line, one of its fields the text.

A plain file is read by byte ranges: a shard takes the lines that begin in it, so that one large file feeds every
worker. A compressed file is one shard, and its origins count decompressed bytes; behind a damaged gzip member or bz2
stream reading goes on at the next sound one. A line that is not valid UTF-8, not JSON, not an object, or longer than
`max_line_bytes` is quarantined with its number, and reading goes on behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import IO, Any, ClassVar

from pydantic import Field

from yanmo.core.data import Document, Origin
from yanmo.core.messages import text
from yanmo.corpus.formats import compressed
from yanmo.corpus.formats.compressed import Damage
from yanmo.corpus.formats.lines import Numbers, lines
from yanmo.corpus.source import RowSource, Shard, Source, written_shards

ENDINGS = (".jsonl", ".json", ".ndjson")
DEEPEST = 100  # brackets in brackets: what is written down of a row has to be read again
LONG_NUMBER = re.compile(rb"[0-9]{19}")
EXACT = float(1 << 62)  # a whole number above this may come from the faster parser as a float


class JsonlSource(RowSource):
    """JSON Lines, plain or compressed (gz, zst, bz2, xz): one object a line, one document an object."""

    type: str = "jsonl"
    max_line_bytes: int = Field(default=16 << 20, gt=0)

    endings: ClassVar[tuple[str, ...]] = compressed.with_compressed(ENDINGS)
    version: ClassVar[int] = 2

    def shards(self) -> list[Shard]:
        return line_shards(self)

    def documents(self, shard: Shard) -> Iterator[Document]:
        return line_documents(self, shard, self.rows)

    def rows(self, handle: IO[bytes], origin: Origin, numbers: Numbers) -> Iterator[Document]:
        """The documents of the lines that begin in [start, end) of the origin's file or member (end -1: of all of it).

        Of a damaged stream, those of the complete lines come before `Damage`, whose position is where the next began."""
        position = origin.start
        try:
            for start, end, line in lines(handle, origin.start, None if origin.end < 0 else origin.end, self.max_line_bytes):
                number, position = numbers.next(), end
                place = Origin(origin.file, origin.member, start, end)
                if line is None:
                    yield self.quarantined("", place, "line_too_long", end - start, line=numbers.of(number))
                elif line.strip():
                    yield self._document(line, place, numbers, number)
        except Damage as damage:
            damage.position = position
            raise

    def _document(self, line: bytes, origin: Origin, numbers: Numbers, number: int) -> Document:
        try:
            row = parsed(line)
        except UnicodeDecodeError as error:
            value = f"byte 0x{line[error.start]:02x} at {error.start}"
            return self.quarantined(line, origin, "invalid_encoding", value, line=numbers.of(number))
        except json.JSONDecodeError as error:
            return self.quarantined(line, origin, "bad_json", f"{error.msg} at {error.pos}", line=numbers.of(number))
        except ValueError as error:  # a number of thousands of digits; brackets nested without end
            return self.quarantined(line, origin, "bad_json", str(error), line=numbers.of(number))
        if not isinstance(row, dict):
            return self.quarantined(line, origin, "not_an_object", type(row).__name__, line=numbers.of(number))
        doc = self.document(row, origin, line)
        if doc.rejection is not None:
            doc.meta["line"] = numbers.of(number)
        return doc

    def check(self) -> None:
        compressed.check([file for _, file in self.located()], self.type)
        super().check()

    def expects(self) -> Any:
        return text("one JSON object a line")


def line_shards(source: Source) -> list[Shard]:
    """Byte ranges of plain files; compressed ones whole."""
    found: list[Shard] = []
    for _, file in source.located():
        packed = compressed.codec_of(file) is not None
        found += written_shards(file, file.stat().st_size, file.stem if packed else None, cut=not packed)
    return found


def line_documents(
    source: Source, shard: Shard, rows: Callable[[IO[bytes], Origin, Numbers], Iterator[Document]]
) -> Iterator[Document]:
    """What `rows` makes of a shard's lines, and of what can be read behind a damaged stream in it."""
    nothing, member = True, shard.member
    numbers = Numbers(shard.path, shard.start)
    while shard.end:
        origin = Origin(shard.file, member, shard.start, shard.end if member is None else -1)
        try:
            with compressed.opened(shard.path, member) as handle:
                for doc in rows(handle, origin, numbers):
                    nothing = False
                    yield doc
            break
        except Damage as damage:
            nothing, following = False, compressed.resume(shard.path, damage)
            place = Origin(shard.file, member, damage.position, damage.position)
            yield source.quarantined("", place, damage.reason, damage.value(following))
        if following is None:
            return
        member, numbers = following, Numbers(None)
    if nothing and (shard.member is not None or shard.end == 0):
        yield source.quarantined("", Origin(shard.file, shard.member, 0, 0), "empty_file")


# ------------------------------------------------------------------------------------------------ one line


def parsed(line: bytes) -> Any:
    """The line's value. UnicodeDecodeError, json.JSONDecodeError or ValueError where it is none.

    orjson, where it is installed, reads what it agrees with `json` about; the rest, and all errors, are `json`'s."""
    fast = _orjson()
    row, done = None, False
    if fast is not None:
        try:
            row = fast(line)
            done = not _doubtful(row, line)
        except ValueError:
            pass
    if not done:
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_no_number)
        except RecursionError:
            raise ValueError(f"nested deeper than {DEEPEST}") from None
    if line.count(b"[") + line.count(b"{") > DEEPEST and _deeper(row, DEEPEST):
        raise ValueError(f"nested deeper than {DEEPEST}")
    return row


@cache
def _orjson() -> Callable[[bytes], Any] | None:
    try:
        from orjson import loads
    except ImportError:
        return None
    return loads


def _no_number(name: str) -> None:
    """NaN and Infinity, which JSON does not have but Python's writer leaves behind, are read as null."""


def _doubtful(row: Any, line: bytes) -> bool:
    """Whether a number too large for 64 bits may have become a float."""
    for value in row.values() if type(row) is dict else (row,):
        kind = type(value)
        if kind is float:
            if not -EXACT < value < EXACT:
                return True
        elif kind is dict or kind is list:
            return LONG_NUMBER.search(line) is not None
    return False


def _deeper(value: Any, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if left == 0:
        return True
    return any(_deeper(item, left - 1) for item in (value.values() if isinstance(value, dict) else value))
