"""Sources that are lines of text: plain files are read by byte ranges, compressed ones whole and on behind damage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from pydantic import Field

from yanmo.core.data import Document, Origin
from yanmo.corpus.formats import compressed, compression
from yanmo.corpus.formats.compressed import Damage
from yanmo.corpus.formats.lines import Numbers, lines
from yanmo.corpus.source import Shard, Source, written_shards


class LineSource(Source):
    """`max_line_bytes`: a longer line is quarantined without being held."""

    max_line_bytes: int = Field(default=16 << 20, gt=0)

    @property
    def headed(self) -> bool:
        """Whether the first line of a file is no document."""
        return False

    def document_of(self, line: bytes, origin: Origin) -> Document:
        """The line's document or quarantine; a UnicodeDecodeError where it is not UTF-8."""
        raise NotImplementedError

    def shards(self) -> list[Shard]:
        found: list[Shard] = []
        for _, file in self.located():
            packed = compression.codec_of(file) is not None
            found += written_shards(file, file.stat().st_size, file.stem if packed else None, cut=not packed)
        return found

    def documents(self, shard: Shard) -> Iterator[Document]:
        nothing, member = True, shard.member
        numbers = Numbers(shard.path, shard.start)
        while shard.end:
            origin = Origin(shard.file, member, shard.start, shard.end if member is None else -1)
            try:
                with compressed.opened(shard.path, member) as handle:
                    for doc in self.rows(handle, origin, numbers):
                        nothing = False
                        yield doc
                break
            except Damage as damage:
                nothing, following = False, compressed.resume(shard.path, damage)
                place = Origin(shard.file, member, damage.position, damage.position)
                yield self.quarantined("", place, damage.reason, damage.value(following))
            if following is None:
                return
            member, numbers = following, Numbers(None)
        if nothing and (shard.member is not None or shard.end == 0):
            yield self.quarantined("", Origin(shard.file, shard.member, 0, 0), "empty_file")

    def rows(self, handle: IO[bytes], origin: Origin, numbers: Numbers) -> Iterator[Document]:
        """The documents of the lines that begin in [start, end) of the origin's file or member (end -1: of all of it).

        Of a damaged stream, those of the complete lines come before `Damage`, whose position is where the next began."""
        position, head = origin.start, self.headed and origin.start == 0
        try:
            for start, end, line in lines(handle, origin.start, None if origin.end < 0 else origin.end, self.max_line_bytes):
                number, position = numbers.next(), end
                place = Origin(origin.file, origin.member, start, end)
                if head:
                    head = False
                elif line is None:
                    yield self.quarantined("", place, "line_too_long", end - start, line=numbers.of(number))
                elif line.strip():
                    doc = self._read(line, place)
                    if doc.rejection is not None:
                        doc.meta["line"] = numbers.of(number)
                    yield doc
        except Damage as damage:
            damage.position = position
            raise

    def check(self) -> None:
        compression.check([file for _, file in self.located()], self.type)
        super().check()

    def _read(self, line: bytes, origin: Origin) -> Document:
        try:
            return self.document_of(line, origin)
        except UnicodeDecodeError as error:
            return self.quarantined(line, origin, "invalid_encoding", f"byte 0x{line[error.start]:02x} at {error.start}")
