"""Pages of HTML in files: one file a document. Origins are the bytes of the whole file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from yanmo.core.data import Document, Origin, Rejection, content_id
from yanmo.core.messages import text
from yanmo.core.paths import locate, written
from yanmo.corpus import source
from yanmo.corpus.source import Shard
from yanmo.corpus.web.pages import STEP, Found, PageSource

MOST = 1000  # files in a shard


@dataclass(frozen=True, slots=True)
class Files(Shard):
    """Files that follow each other, read by one worker: a page alone is too little to hand over. `start` and `end` are
    their places among the source's files."""

    files: tuple[str, ...] = ()


class HtmlSource(PageSource):
    """Files of HTML (.html, .htm, .xhtml): the text of each page."""

    type: str = "html"

    endings: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")

    def shards(self) -> list[Shard]:
        found: list[Shard] = []
        held: list[str] = []
        size = first = 0
        files = [file for _, file in self.located()]
        for number, file in enumerate(files, 1):
            held.append(written(file))
            size += file.stat().st_size
            if size >= source.SHARD_BYTES or len(held) >= MOST or number == len(files):
                found.append(Files(held[0], None, first, number, size, files=tuple(held)))
                held, size, first = [], 0, number
        return found

    def found(self, shard: Shard) -> Iterator[Found]:
        assert isinstance(shard, Files)
        for name in shard.files:
            with open(locate(name), "rb") as handle:
                data = handle.read(self.max_page_bytes + 1)
                size = len(data) if len(data) <= self.max_page_bytes else os.fstat(handle.fileno()).st_size
            origin = Origin(name, None, 0, size)
            if not data:
                yield self.quarantined("", origin, "empty_file"), None
            elif len(data) > self.max_page_bytes:
                yield Document(content_id(""), "", origin, self.name, {}, Rejection(STEP, "too_large", size)), None
            else:
                yield Document("", "", origin, self.name), (data, None)

    def expects(self) -> Any:
        return text("pages of HTML")
