"""The lines of a file, wherever a shard begins; none longer than a limit is ever held.

A line belongs to the shard in which it begins. Where a stream ends in damage, what came of its last line is not given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

BOM = b"\xef\xbb\xbf"


def lines(handle: IO[bytes], start: int, end: int | None, limit: int) -> Iterator[tuple[int, int, bytes | None]]:
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
        if not line.endswith(b"\n"):
            if len(line) == limit + 2:
                position += _skip(handle)
                yield begin, position, None
                continue
            handle.read(1)  # the end of the file, or (raised here) damage in the middle of the line
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


class Numbers:
    """Line numbers within a file, or a member (`path` None). Those before a shard are counted only when the first bad
    line asks for them."""

    def __init__(self, path: Path | None, start: int = 0):
        self.path, self.start, self.seen, self.before = path, start, 0, 0 if start == 0 else -1

    def next(self) -> int:
        self.seen += 1
        return self.seen

    def of(self, number: int) -> int:
        if self.before < 0:
            assert self.path is not None, "a member is read from its beginning"
            self.before, last, left = 0, b"\n", self.start
            with open(self.path, "rb") as handle:
                while left > 0 and (chunk := handle.read(min(left, 1 << 20))):
                    self.before, last, left = self.before + chunk.count(b"\n"), chunk[-1:], left - len(chunk)
            self.before += last != b"\n"  # the line that began before the shard belongs to the one before
        return self.before + number
