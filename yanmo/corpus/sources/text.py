"""Plain text: one file is one document, or, where there are few files, a sequence of blocks.

A train/validation split needs documents to choose from. A source of under 20 files (a novel or two) is therefore cut
into blocks of about 64 KiB (`corpus/blocks.py`), each a document with its own byte range; so is any file above 64 MiB.
Origins are bytes of the file, decompressed, in whatever encoding it is in.

The encoding is told for each file on its own (`corpus/encoding.py`); one that is not UTF-8 is said in the document's meta.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any, ClassVar

from pydantic import field_validator

from yanmo.core.data import Document, Origin, content_id
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.corpus.formats import compressed, compression, encoding, gutenberg
from yanmo.corpus.formats.blocks import Coding
from yanmo.corpus.formats.compressed import Damage
from yanmo.corpus.formats.encoding import Encoding
from yanmo.corpus.source import Shard, Source, written_shards

FEW_FILES = 20
WHOLE_BYTES = 64 << 20
SMALL_BYTES = 64 << 10  # what most files and members have less of: room for more is not asked for them
ENDINGS = (".txt", ".text", ".md", ".markdown", ".rst")


class TextSource(Source):
    """Plain text, Markdown, reStructuredText, also compressed: one document a file, or a block of one.

    `encoding`: 'auto' tells it for each file: UTF-8, UTF-16 and UTF-32 with a mark, GB18030, Big5, Shift-JIS, EUC-JP,
    Windows-1252; a file that is in none of them is quarantined. `blocks`: None cuts files where there are fewer than 20 of
    them; true or false settle it. `gutenberg`: leaves Project Gutenberg's headers and footers out."""

    type: str = "text"
    encoding: str = "auto"
    blocks: bool | None = None
    gutenberg: bool = True

    endings: ClassVar[tuple[str, ...]] = compression.with_compressed(ENDINGS)
    version: ClassVar[int] = 2

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == "auto":
            return name
        try:
            "".encode(name)
        except (LookupError, ValueError):
            raise ValueError(str(text("an encoding such as utf-8, gb18030 or big5"))) from None
        return codecs.lookup(name).name

    def shards(self) -> list[Shard]:
        files = [file for _, file in self.located()]
        blocks = len(files) < FEW_FILES if self.blocks is None else self.blocks
        found: list[Shard] = []
        for file in files:
            size = file.stat().st_size
            packed = compression.codec_of(file) is not None
            if packed or not (blocks or size > WHOLE_BYTES):
                found.append(Shard(written(file), file.stem if packed else None, 0, size, size, whole=not blocks))
            else:
                found += written_shards(file, size)
        return found

    def documents(self, shard: Shard) -> Iterator[Document]:
        nothing = True
        if shard.end:
            with compressed.opened(shard.path, shard.member) as handle:
                try:
                    for doc in self.whole(handle, shard.file, shard.member) if shard.whole else self._blocks(handle, shard):
                        nothing = False
                        yield doc
                except Damage as damage:
                    nothing = False
                    place = Origin(shard.file, shard.member, damage.position, damage.position)
                    yield self.quarantined("", place, damage.reason, damage.value())
        if nothing and shard.start == 0 and shard.end == shard.stamp[0]:
            yield self.quarantined("", Origin(shard.file, shard.member, 0, 0), "empty_file")

    def whole(self, handle: IO[bytes], file: str, member: str | None) -> Iterator[Document]:
        """The one document that a file or member is, from its beginning; the blocks of one above WHOLE_BYTES.

        Raises `Damage` behind the complete lines of a stream that is damaged."""
        data, damage = handle.read(SMALL_BYTES), None
        if len(data) == SMALL_BYTES:
            data += handle.read(WHOLE_BYTES + 1 - len(data))
        if len(data) <= WHOLE_BYTES:
            try:
                handle.read(1)
            except Damage as found:
                damage, data = found, data[: data.rfind(b"\n") + 1]
        look = self._reading().of(data)
        if look.encoding is None:
            yield self._unknown(data, Origin(file, member, 0, len(data)))
        elif len(data) > WHOLE_BYTES:
            read = partial(_chained, io.BytesIO(data[look.first :]), handle)
            for at, piece in Coding(look.encoding).blocks(read, look.first, None):
                yield self._document(piece, look.encoding, Origin(file, member, at, at + len(piece)))
        elif data or damage is None:
            first, last = self.kept(data, look.first, len(data) if look.last is None else look.last)
            yield self._document(data[first:last], look.encoding, Origin(file, member, first, last))
        if damage is not None:
            raise damage

    def kept(self, data: bytes, first: int, last: int) -> tuple[int, int]:
        """Which bytes of a whole file's [first, last) are its text."""
        return first, last

    def _blocks(self, handle: IO[bytes], shard: Shard) -> Iterator[Document]:
        size, changed = shard.stamp
        look = _look(self._reading(), shard.path, shard.member, size, changed)
        if look.encoding is None:
            handle.seek(shard.start)
            excerpt = handle.read(min(1 << 14, shard.size))
            yield self._unknown(excerpt, Origin(shard.file, shard.member, shard.start, shard.start + len(excerpt)))
            return
        coding, start, end = Coding(look.encoding), look.first, look.last
        if shard.member is None:
            start = max(coding.border(handle, shard.start, size), start)
            end = min(coding.border(handle, shard.end, size), size if end is None else end)
        handle.seek(start)
        for at, piece in coding.blocks(handle.read, start, end):
            yield self._document(piece, look.encoding, Origin(shard.file, shard.member, at, at + len(piece)))

    def _document(self, data: bytes, coding: Encoding, origin: Origin) -> Document:
        try:
            body = data.decode(coding.name)
            body.encode("utf-8")
        except UnicodeError as error:
            at = getattr(error, "start", 0)
            value = f"byte 0x{data[at]:02x} at {origin.start + at}" if isinstance(error, UnicodeDecodeError) else str(error)
            return self.quarantined(data, origin, "invalid_encoding", value)
        if not body or body.isspace():
            return self.quarantined(body, origin, "empty_file" if not data else "empty_text")
        return Document(content_id(body), body, origin, self.name, {} if coding.name == "utf-8" else {"encoding": coding.name})

    def _unknown(self, data: bytes, origin: Origin) -> Document:
        return self.quarantined(data, origin, "invalid_encoding", "in none of the encodings that can be told")

    def _reading(self) -> _Reading:
        return _Reading(self.encoding, self.gutenberg)

    def check(self) -> None:
        compression.check([file for _, file in self.located()], self.type)
        super().check()

    def expects(self) -> Any:
        if self.encoding == "auto":
            return text("text in UTF-8 or another encoding that its bytes show")
        return text("text in {encoding}", encoding=self.encoding)

    def advice(self, broken: Document) -> Any:
        return text("Set encoding: to the one the file is in (gb18030, big5, latin-1 …)")


@dataclass(frozen=True)
class _Look:
    """A file's encoding (None: not to be told), and the bytes [first, last) that are its text; last None: to its end."""

    encoding: Encoding | None
    first: int
    last: int | None


@dataclass(frozen=True)
class _Reading:
    """How a file is looked at before it is read: the settings that matter to it."""

    encoding: str
    gutenberg: bool

    def of(self, data: bytes) -> _Look:
        """The look of a file that is all there, or at least its first WHOLE_BYTES."""
        if self.encoding != "auto":
            found: Encoding | None = _given(self.encoding, data)
        elif len(data) > encoding.LOOK:
            found = encoding.of_file(io.BytesIO(data), len(data))
        else:
            found = encoding.of(data)
        return self._trimmed(found, data[: gutenberg.REACH], data[-gutenberg.REACH :], len(data))

    def of_file(self, path: Path, member: str | None, size: int) -> _Look:
        """The look of a file that is read in parts: of a compressed one by its front, and its end where it has to be."""
        with compressed.opened(path, member) as handle:
            head = handle.read(encoding.LOOK)
            if self.encoding != "auto":
                found: Encoding | None = _given(self.encoding, head)
            elif member is None and size > len(head):
                found = encoding.of_file(handle, size)
            else:
                found = encoding.of(head, cut=member is not None)
            tail = b""
            if self.gutenberg and member is None:
                handle.seek(max(size - gutenberg.REACH, 0))
                tail = handle.read(gutenberg.REACH)
            elif self.gutenberg and gutenberg.begins(head[: gutenberg.REACH]) is not None:
                size, tail = _tail(handle, head)
            return self._trimmed(found, head[: gutenberg.REACH], tail, size)

    def _trimmed(self, found: Encoding | None, front: bytes, tail: bytes, size: int) -> _Look:
        first, last = found.mark if found else 0, None
        if self.gutenberg and found is not None and len("\n".encode(found.name)) == 1:
            begin, end = gutenberg.begins(front), gutenberg.ends(tail)
            end = None if end is None else end + size - len(tail)
            if (begin or first) < (size if end is None else end):  # else there is no book between the two
                first, last = begin or first, end
        return _Look(found, first, last)


@lru_cache(maxsize=64)
def _look(reading: _Reading, path: Path, member: str | None, size: int, changed: int) -> _Look:
    """Once for all shards of a file, which one process mostly reads one after the other."""
    return reading.of_file(path, member, size)


def _tail(handle: IO[bytes], head: bytes) -> tuple[int, bytes]:
    """(size, last bytes) of a stream whose front was read."""
    size, tail = len(head), head[-gutenberg.REACH :]
    try:
        while more := handle.read(1 << 20):
            size, tail = size + len(more), (tail + more)[-gutenberg.REACH :]
    except Damage:  # which is reported where the blocks are read
        pass
    return size, tail


def _chained(front: IO[bytes], handle: IO[bytes], size: int) -> bytes:
    """Reads what is left of `front`, then from the handle."""
    data = front.read(size)
    return data if len(data) == size else data + handle.read(size - len(data))


def _given(name: str, head: bytes) -> Encoding:
    """The encoding that the settings say, with the mark that the file has."""
    if name in ("utf-8", "utf-8-sig"):
        return Encoding("utf-8", 3 if head.startswith(codecs.BOM_UTF8) else 0)
    if name in ("utf-16", "utf-32"):  # the mark says which end comes first; without one, little
        width = 2 if name == "utf-16" else 4
        little, big = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) if width == 2 else (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
        marked = head.startswith((little, big))
        return Encoding(f"{name}-be" if head.startswith(big) else f"{name}-le", width if marked else 0)
    return Encoding(name)
