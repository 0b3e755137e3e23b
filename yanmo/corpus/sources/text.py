"""Plain text: one file is one document, or, where there are few files, a sequence of blocks.

A train/validation split needs documents to choose from. A source of under 20 files (a novel or two) is therefore cut
into blocks of about 64 KiB, each a document with its own byte range; so is any file above 64 MiB. Cuts fall behind a
blank line, else a line end, else (UTF-8) a sentence, a space or at least a whole character; the blocks of a file cover
each of its bytes once. Origins are bytes of the file as it lies on the disk, in whatever encoding.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import IO, Any, ClassVar

from pydantic import field_validator

from yanmo.core.data import Document, Origin, content_id
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.corpus.source import Shard, Source, written_shards

FEW_FILES = 20
BLOCK_BYTES = 64 << 10
WHOLE_BYTES = 64 << 20
UTF8_BORDERS = (b"\n\n", b"\n\r\n", b"\n", "。".encode(), "！".encode(), "？".encode(), b". ", b" ")


class TextSource(Source):
    """`blocks`: None cuts files where there are fewer than 20 of them; true or false settle it."""

    type: str = "text"
    encoding: str = "utf-8"
    blocks: bool | None = None

    endings: ClassVar[tuple[str, ...]] = (".txt", ".text", ".md", ".markdown", ".rst")

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except (LookupError, ValueError):
            raise ValueError(str(text("an encoding such as utf-8, gb18030 or big5"))) from None
        return codecs.lookup(encoding).name

    def shards(self) -> list[Shard]:
        files = [file for _, file in self.located()]
        blocks = len(files) < FEW_FILES if self.blocks is None else self.blocks
        found: list[Shard] = []
        for file in files:
            size = file.stat().st_size
            if blocks or size > WHOLE_BYTES:
                found += written_shards(file, size)
            else:
                found.append(Shard(written(file), None, 0, size, size, whole=True))
        return found

    def documents(self, shard: Shard) -> Iterator[Document]:
        path = shard.path
        if shard.end == 0:
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "empty_file")
            return
        with open(path, "rb") as handle:
            coding = _Coding(self.encoding, handle)
            if shard.whole:
                handle.seek(coding.mark)
                pieces: Iterator[tuple[int, bytes]] = iter([(coding.mark, handle.read())])
            else:
                pieces = coding.blocks(handle, shard, path.stat().st_size)
            for start, data in pieces:
                yield self._document(data, coding.name, Origin(shard.file, None, start, start + len(data)))

    def _document(self, data: bytes, encoding: str, origin: Origin) -> Document:
        try:
            body = data.decode(encoding)
            body.encode("utf-8")
        except UnicodeError as error:
            at = getattr(error, "start", 0)
            value = f"byte 0x{data[at]:02x} at {origin.start + at}" if isinstance(error, UnicodeDecodeError) else str(error)
            return self.quarantined(data, origin, "invalid_encoding", value)
        if not body or body.isspace():
            return self.quarantined(body, origin, "empty_file" if not data else "empty_text")
        return Document(content_id(body), body, origin, self.name)

    def expects(self) -> Any:
        return text("text in {encoding}", encoding=self.encoding)

    def advice(self, broken: Document) -> Any:
        return text("Set encoding: to the one the file is in (gb18030, big5, latin-1 …)")


class _Coding:
    """An encoding as it shows in bytes: the byte order mark in front, the width of a unit, the line end."""

    def __init__(self, encoding: str, handle: IO[bytes]):
        head = handle.read(4)
        self.name, self.mark = encoding, 0
        if encoding in ("utf-8", "utf-8-sig"):
            self.name, self.mark = "utf-8", 3 if head.startswith(codecs.BOM_UTF8) else 0
        elif encoding in ("utf-16", "utf-32"):  # the mark says which end comes first; without one, little
            width = 2 if encoding == "utf-16" else 4
            little, big = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) if width == 2 else (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
            self.name = f"{encoding}-be" if head.startswith(big) else f"{encoding}-le"
            self.mark = width if head.startswith((little, big)) else 0
        self.line_end = "\n".encode(self.name)
        self.unit = len(self.line_end)

    def blocks(self, handle: IO[bytes], shard: Shard, size: int) -> Iterator[tuple[int, bytes]]:
        """(first byte, bytes) of each block between the line borders next to the shard's ends."""
        start, end = self._border(handle, shard.start, size), self._border(handle, shard.end, size)
        while start < end:
            handle.seek(start)
            data = handle.read(min(BLOCK_BYTES * 5 // 4, end - start))
            if start + len(data) < end:
                data = self._cut(data, handle, end - start - len(data))
            yield start, data
            start += len(data)

    def _border(self, handle: IO[bytes], place: int, size: int) -> int:
        """The first byte behind the first line end at or after `place` - 1 unit: where a line begins."""
        if place <= self.mark:
            return self.mark
        position = self.mark + (place - self.mark) // self.unit * self.unit - self.unit
        while position < size:
            handle.seek(position)
            chunk = handle.read(BLOCK_BYTES)
            found = self._find(chunk, self.line_end)
            if found >= 0:
                return position + found
            position += len(chunk)
        return size

    def _cut(self, data: bytes, handle: IO[bytes], left: int) -> bytes:
        """`data` up to the best border in it; where there is none that is safe, on to the next one in the file."""
        for border in UTF8_BORDERS if self.name == "utf-8" else (self.line_end,):
            found = self._find(data[:BLOCK_BYTES], border, last=True)
            if found >= BLOCK_BYTES // 2:
                return data[:found]
        if self.name == "utf-8":
            cut = BLOCK_BYTES
            while cut > BLOCK_BYTES - 4 and data[cut] & 0xC0 == 0x80:  # a byte inside a character
                cut -= 1
            return data[:cut]
        found = self._find(data, self.line_end, last=True)
        pieces = [data[:found] if found > 0 else data]
        while found <= 0 and left > 0:
            more = handle.read(min(BLOCK_BYTES, left))
            found, left = self._find(more, self.line_end), left - len(more)
            pieces.append(more[:found] if found > 0 else more)
        return b"".join(pieces)

    def _find(self, data: bytes, border: bytes, *, last: bool = False) -> int:
        """The place behind the first (or last) border in `data` that begins at a whole unit; -1 where there is none."""
        at = data.rfind(border) if last else data.find(border)
        while at >= 0 and at % self.unit:
            at = data.rfind(border, 0, at + len(border) - 1) if last else data.find(border, at + 1)
        return at + len(border) if at >= 0 else -1
