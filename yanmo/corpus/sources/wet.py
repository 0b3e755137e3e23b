"""Extracted text as Common Crawl publishes it: WET files, plain or compressed record by record.

Each conversion record is a document, its text as it is; origins as in `warc.py`. Other records are no documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from yanmo.core.data import Document, Origin, content_id
from yanmo.core.messages import text
from yanmo.corpus.formats import warc
from yanmo.corpus.source import Shard
from yanmo.corpus.sources.warc import RecordSource, address, shown


class WetSource(RecordSource):
    """Common Crawl's extracted text (.wet, .wet.gz): one document a record."""

    type: str = "wet"

    endings: ClassVar[tuple[str, ...]] = (".wet", ".wet.gz", ".wet.zst")

    def documents(self, shard: Shard) -> Iterator[Document]:
        for item in self.records(shard):
            if isinstance(item, Document):
                yield item
            elif item[1].kind == b"conversion":
                yield self._document(item[1], Origin(shard.file, item[0], item[1].start, item[1].end))

    def _document(self, record: warc.Record, origin: Origin) -> Document:
        if record.block is None:
            return self.quarantined("", origin, "record_too_large", record.end - record.start)
        try:
            body = record.block.decode("utf-8")
        except UnicodeDecodeError as error:
            value = f"byte 0x{record.block[error.start]:02x} at {error.start}"
            return self.quarantined(record.block, origin, "invalid_encoding", value)
        if not body or body.isspace():
            return self.quarantined(body, origin, "empty_text")
        meta = address(record)
        if languages := shown(record.fields, b"warc-identified-content-language"):
            meta["languages"] = languages
        return Document(content_id(body), body, origin, self.name, meta)

    def expects(self) -> Any:
        return text("a web archive (WARC) of extracted text")
