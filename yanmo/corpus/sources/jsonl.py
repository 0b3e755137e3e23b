"""JSON lines, plain or compressed: one object a line, one of its fields the text.

A plain file is read by byte ranges: a shard takes the lines that begin in it, so that one large file feeds every
worker. A compressed file is one shard, and its origins count decompressed bytes; behind a damaged gzip member or bz2
stream reading goes on at the next sound one. A line that is not valid UTF-8, not JSON, not an object, or longer than
`max_line_bytes` is quarantined with its number, and reading goes on behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

from yanmo.core.data import Document, Origin
from yanmo.core.messages import text
from yanmo.corpus.formats import compression
from yanmo.corpus.formats.line_source import LineSource
from yanmo.corpus.source import RowSource

ENDINGS = (".jsonl", ".json", ".ndjson")
DEEPEST = 100  # brackets in brackets: what is written down of a row has to be read again
LONG_NUMBER = re.compile(rb"[0-9]{19}")
EXACT = float(1 << 62)  # a whole number above this may come from the faster parser as a float


class JsonlSource(LineSource, RowSource):
    """JSON Lines, plain or compressed (gz, zst, bz2, xz): one object a line, one document an object."""

    type: str = "jsonl"

    endings: ClassVar[tuple[str, ...]] = compression.with_compressed(ENDINGS)
    version: ClassVar[int] = 2

    def document_of(self, line: bytes, origin: Origin) -> Document:
        try:
            row = parsed(line)
        except UnicodeDecodeError:
            raise
        except json.JSONDecodeError as error:
            return self.quarantined(line, origin, "bad_json", f"{error.msg} at {error.pos}")
        except ValueError as error:  # a number of thousands of digits; brackets nested without end
            return self.quarantined(line, origin, "bad_json", str(error))
        if not isinstance(row, dict):
            return self.quarantined(line, origin, "not_an_object", type(row).__name__)
        return self.document(row, origin, line)

    def expects(self) -> Any:
        return text("one JSON object a line")


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
