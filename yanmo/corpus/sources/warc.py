"""Web archives: WARC files of a crawler, plain or compressed record by record (.warc.gz, .warc.zst).

A document is a page that was fetched well: a response (or stored resource) of HTML with status 200. Other responses are
dropped as `warc.status` or `warc.content_type` with what they had instead, so that the account says how many there were;
requests, notes about records, and repeats that hold no page (revisits) are no documents. A file is read by byte ranges:
a shard takes the records that begin in it.

Origins count the bytes of the HTTP body within the decompressed gzip member, which `@N` names by the compressed byte at
which it begins; in a plain file, the file's own bytes. Damage costs the record that it hit: reading goes on at the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from yanmo.core.data import Document, Origin, Rejection, content_id
from yanmo.core.messages import text
from yanmo.corpus.formats import compression, warc
from yanmo.corpus.formats.compression import Codec, codec_of
from yanmo.corpus.formats.streams import Broken, Bytes, Streams
from yanmo.corpus.source import Shard, Source, written_shards
from yanmo.corpus.web.pages import Found, PageSource, excerpt

PAGES = frozenset({b"text/html", b"application/xhtml+xml"})
MARKUP = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(?:<!doctype html|<html|<\?xml[^>]*>\s*<(?:!doctype html|html))", re.I)
CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w.:-]+)", re.I)


class RecordSource(Source):
    """A source of WARC records. `max_record_bytes`: longer ones are passed over; `max_ratio`: so are those that grow to
    more than so many times their size when they are unpacked."""

    max_record_bytes: int = Field(default=16 << 20, gt=0)
    max_ratio: float = Field(default=500.0, gt=1)

    def shards(self) -> list[Shard]:
        return [shard for _, file in self.located() for shard in written_shards(file, file.stat().st_size)]

    def check(self) -> None:
        compression.check([file for _, file in self.located()], self.type)
        super().check()

    def records(self, shard: Shard) -> Iterator[tuple[str | None, warc.Record] | Document]:
        """(member, record) for each that begins in the shard; a quarantined document for each piece of damage."""
        path = shard.path
        if shard.end == 0:
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "empty_file")
            return
        codec = codec_of(path)
        yield from self._plain(path, shard) if codec is None else self._packed(path, shard, codec)

    def _packed(self, path: Path, shard: Shard, codec: Codec) -> Iterator[tuple[str | None, warc.Record] | Document]:
        with Streams(path, codec, warc.HEAD, self.max_ratio) as file:
            offset = file.next(shard.start, shard.end) if shard.start else 0
            if offset >= shard.end:
                return
            while offset < file.size:
                member = f"@{offset}"
                if offset >= shard.end:  # where the next shard begins, unless nothing does
                    if not file.begins(offset) and not file.blank(offset):
                        yield self._lost(shard, member, 0, f"bad_{codec.name}", f"no record at compressed byte {offset}")
                    return
                stream = file.stream(offset)
                whole = stream.whole()
                record = warc.alone(whole, self.max_record_bytes) if whole is not None else None
                if record is not None:
                    yield member, record
                    offset = stream.end
                    continue

                def opened(place: int) -> warc.Window:
                    nonlocal stream
                    stream = file.stream(offset)  # noqa: B023
                    window = warc.Window(stream.read)
                    window.skip(place)
                    return window

                try:
                    yield from self._walk(shard, member, opened, 0, float("inf"))
                    offset = stream.finish()
                except Broken as error:
                    if not stream.given and file.blank(offset):
                        return
                    yield self._lost(shard, member, stream.given, error.reason, error.value)
                    offset = file.next(offset + 1, shard.end)
                    if offset >= shard.end:  # whatever the damage covers of the next shard was counted here
                        return

    def _plain(self, path: Path, shard: Shard) -> Iterator[tuple[str | None, warc.Record] | Document]:
        with Bytes(path) as file:

            def opened(place: int) -> warc.Window:
                at = place

                def read(size: int) -> bytes:
                    nonlocal at
                    data = file.read(at, size)
                    at += len(data)
                    return data

                return warc.Window(read, place)

            first = 0
            if shard.start:
                lines = (place + 1 for place in file.find(warc.LINE, shard.start - 1, shard.end - 1))
                first = next((place for place in lines if warc.begins(opened(place))), shard.end)
            if first < shard.end:
                yield from self._walk(shard, None, opened, first, shard.end)

    def _walk(
        self, shard: Shard, member: str | None, opened: Callable[[int], warc.Window], place: int, end: float
    ) -> Iterator[tuple[str | None, warc.Record] | Document]:
        """The records of one stream, from `place` on, that begin before `end`."""
        window = opened(place)
        while True:
            try:
                for record in warc.records(window, self.max_record_bytes, end):
                    yield member, record
                return
            except warc.BadRecord as error:
                bad = error
            window = opened(bad.place + 1)
            more = bad.place < end and warc.resume(window)  # which may show that the whole stream is damaged
            yield self._lost(shard, member, bad.place, bad.reason, bad.value)
            if not more:
                return

    def _lost(self, shard: Shard, member: str | None, place: int, reason: str, value: str) -> Document:
        return self.quarantined("", Origin(shard.file, member, place, place), reason, value)

    def expects(self) -> Any:
        return text("a web archive (WARC)")


class WarcSource(RecordSource, PageSource):
    """Web archives (.warc, .warc.gz, .warc.zst): the text of each page that was fetched well."""

    type: str = "warc"

    endings: ClassVar[tuple[str, ...]] = (".warc", ".warc.gz", ".warc.zst")

    def found(self, shard: Shard) -> Iterator[Found]:
        for item in self.records(shard):
            if isinstance(item, Document):
                yield item, None
                continue
            member, record = item
            if record.kind not in (b"response", b"resource"):
                continue
            origin = Origin(shard.file, member, record.start, record.end)
            if record.block is None:
                yield self.quarantined("", origin, "record_too_large", record.end - record.start), None
            else:
                yield self._page(record, record.block, origin)

    def _page(self, record: warc.Record, block: bytes, origin: Origin) -> Found:
        meta = address(record)
        doc = Document("", "", origin, self.name, meta)
        found = warc.response(block) if record.kind == b"response" else warc.Response(None, record.fields, 0)
        if found is None:  # the answer of a name server, say
            meta["content_type"] = shown(record.fields, b"content-type")
            return self._dropped(doc, "content_type", meta["content_type"], b"")
        kind = found.fields.get(b"content-type")
        mime = kind.partition(b";")[0].strip().lower()
        meta["content_type"] = mime.decode("latin-1")
        if found.status is not None:
            meta["status"] = found.status
        start = origin.start + found.start
        doc.origin = Origin(origin.file, origin.member, start, origin.end)
        if found.status not in (None, 200):
            return self._dropped(doc, "status", found.status, block[found.start :] if mime in PAGES else b"")
        if mime not in PAGES and (mime or not MARKUP.match(block, found.start)):
            return self._dropped(doc, "content_type", meta["content_type"], block[found.start :] if mime[:5] == b"text/" else b"")
        data = warc.body(block, found, self.max_page_bytes)
        if isinstance(data, str):
            return self._dropped(doc, "content_encoding", data, b"")
        charset = CHARSET.search(kind)
        return doc, (data, charset[1].decode("ascii") if charset else None)

    def _dropped(self, doc: Document, reason: str, value: float | str | None, data: bytes) -> Found:
        doc.text = excerpt(data)
        doc.id = content_id(doc.text)
        doc.rejection = Rejection(self.type, reason, value)
        return doc, None


def address(record: warc.Record) -> dict[str, Any]:
    """Where and when a record was fetched, as `meta`."""
    return {"url": shown(record.fields, b"warc-target-uri").strip("<>"), "date": shown(record.fields, b"warc-date")}


def shown(fields: warc.Fields, name: bytes) -> str:
    """A field as text."""
    return fields.get(name).decode("utf-8", "replace")
