"""A compressed file as the streams that it is made of, each found by the compressed byte at which it begins.

Archives of the web compress every record on its own (WARC 1.1, annex D): a gzip member or a zstd frame. So a file can be
entered at any of them, and a damaged one costs no more than itself: behind it the next one is looked for. A place counts
as the beginning of a stream when its first bytes say so and what they unpack to begins as a record does. A shard of a file
takes the streams that begin in its byte range; so every stream belongs to one shard, and damage to the one whose walk
runs into it.

(A member that holds, stored and not deflated, another archive of the same kind can be entered by a shard that begins
inside it. What is read twice then has two origins, and is nothing that a crawler writes.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from yanmo.corpus.formats.compression import MAGIC, Codec

WINDOW = 32 << 10  # compressed bytes given to the decompressor at once
FIRST = 8 << 10  # the same, of a stream that is likely to be small: what is too much is copied
CHUNK = 1 << 20  # bytes read from the disk at once
RATIO_FROM = 1 << 20  # decompressed bytes above which the ratio is looked at


class Broken(Exception):
    """The stream cannot be read on: `reason` is 'bad_gzip', 'truncated_gzip' (or _zstd) or 'bomb'."""

    def __init__(self, reason: str, value: str):
        super().__init__(reason, value)
        self.reason, self.value = reason, value


class Bytes:
    """A file read forward through a window, and at any place."""

    def __init__(self, path: Path):
        self.handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self.handle).st_size
        self.base, self.chunk = 0, b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self.handle)

    def at(self, place: int, size: int) -> memoryview:
        """Up to `size` bytes (at most CHUNK) from `place` on; fewer at the file's end."""
        first = place - self.base
        if first < 0 or first + size > len(self.chunk):
            self.base, self.chunk, first = place, self.read(place, CHUNK), 0
        return memoryview(self.chunk)[first : first + size]

    def read(self, place: int, size: int) -> bytes:
        return os.pread(self.handle, size, place)

    def find(self, what: re.Pattern[bytes], start: int, end: int) -> Iterator[int]:
        """The places in [start, end) at which `what`, of no more than MAGIC bytes, begins, in order."""
        while start < end:
            chunk = self.read(start, min(CHUNK, end - start) + MAGIC)
            last = min(CHUNK, end - start)
            for match in what.finditer(chunk):
                if match.start() < last:
                    yield start + match.start()
            if len(chunk) <= last:
                return
            start += last

    def blank(self, place: int) -> bool:
        """Whether nothing but zero bytes, with which some tools fill up the last block, follows from `place` on."""
        while place < self.size and (chunk := self.read(place, CHUNK)):
            if chunk.strip(b"\0"):
                return False
            place += len(chunk)
        return True


class Stream:
    """One stream, unpacked piece by piece. `end` is the compressed byte behind it, known when it is read to its end."""

    def __init__(self, file: Bytes, codec: Codec, offset: int, ratio: float = float("inf")):
        self.file, self.codec, self.offset, self.ratio = file, codec, offset, ratio
        self.end, self.fed, self.given = -1, offset, 0
        self.decoder: Any = codec.decoder()

    def whole(self) -> bytes | None:
        """All of a stream that is small and sound; None for any other, which is then to be opened anew."""
        place, pieces, decoder = self.offset, list[bytes](), self.decoder
        try:
            for size in (FIRST, WINDOW):
                window = self.file.at(place, size)
                place += len(window)
                pieces.append(decoder.decompress(window, RATIO_FROM))
                if decoder.eof:
                    self.end = place - len(decoder.unused_data)
                    return b"".join(pieces) if pieces[1:] else pieces[0]
                if not decoder.needs_input:
                    break
        except self.codec.errors():
            pass
        return None

    def read(self, size: int) -> bytes:
        """Up to `size` more bytes, at least one; none at the end, when the checksum has been found right. Raises Broken."""
        decoder = self.decoder
        while not decoder.eof:
            window: Any = b""
            if decoder.needs_input:
                window = self.file.at(self.fed, WINDOW)
                if not window:
                    self._broken(f"truncated_{self.codec.name}", f"it ends after {self.given} bytes")
                self.fed += len(window)
            try:
                data: bytes = decoder.decompress(window, size)
            except self.codec.errors() as error:
                self._broken(f"bad_{self.codec.name}", " ".join(str(error).split()) or type(error).__name__)
            self.given += len(data)
            if self.given > RATIO_FROM and self.given > self.ratio * (self.fed - self.offset):
                self._broken("bomb", f"more than {self.ratio:g} times its size")
            if data:
                return data
        if self.end < 0:
            self.end = self.fed - len(decoder.unused_data)
        return b""

    def finish(self) -> int:
        """Reads the rest without holding it; the compressed byte behind the stream."""
        while self.read(CHUNK):
            pass
        return self.end

    def _broken(self, reason: str, why: str) -> NoReturn:
        raise Broken(reason, f"{why}, in the stream at compressed byte {self.offset}")


class Streams(Bytes):
    """The streams of a file whose contents begin with `head`."""

    def __init__(self, path: Path, codec: Codec, head: bytes, ratio: float = float("inf")):
        super().__init__(path)
        self.codec, self.head, self.ratio = codec, head, ratio

    def stream(self, offset: int) -> Stream:
        return Stream(self, self.codec, offset, self.ratio)

    def begins(self, offset: int) -> bool:
        """Whether a stream begins at compressed byte `offset`."""
        if not self.codec.magic.match(self.at(offset, MAGIC)):
            return False
        found, stream = b"", Stream(self, self.codec, offset)
        try:
            while len(found) < len(self.head) and (more := stream.read(len(self.head) - len(found))):
                found += more
        except Broken:
            pass
        return found == self.head

    def next(self, start: int, end: int) -> int:
        """Where the first stream that begins in [start, end) begins; `end` where none does."""
        return next((place for place in self.find(self.codec.magic, start, end) if self.begins(place)), end)
