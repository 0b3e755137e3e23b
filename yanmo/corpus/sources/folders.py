"""Texts in folders that say what they are, as in the 20 newsgroups: the name of the folder a file lies in is its label."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from yanmo.core.data import Document
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import locate
from yanmo.corpus.source import Shard
from yanmo.corpus.sources.text import TextSource

HEADERS = re.compile(rb"(?:[A-Za-z][A-Za-z0-9-]{0,60}:[^\n]*\n(?:[ \t]+\S[^\n]*\n)*)+[ \t\r]*\n(?:[ \t\r]*\n)*")


class FoldersSource(TextSource):
    """Text files in folders, with the folder's name as label: one document a file.

    Files of any ending, but none that lie in `path` itself, where there is no folder to name them. `strip_headers` leaves
    out the lines of a mail or news header (`From: …`, `Subject: …`) that a file begins with. `encoding`, `gutenberg` and
    `blocks` are those of `text`."""

    type: str = "folders"
    blocks: bool | None = False
    strip_headers: bool = False

    endings: ClassVar[tuple[str, ...]] = ()

    def located(self) -> list[tuple[str | None, Path]]:
        roots = [locate(path) for path in ([self.path] if isinstance(self.path, str) else self.path.values())]
        found = super().located()
        inside = [(split, file) for split, file in found if file.parent not in roots]
        if not inside:
            shown = self.path if isinstance(self.path, str) else next(iter(self.path.values()))
            raise DataError(shown, text("a folder for each label"), text("only files"), text("use the source 'text' for them"))
        return inside

    def documents(self, shard: Shard) -> Iterator[Document]:
        label = shard.path.parent.name
        for doc in super().documents(shard):
            doc.meta["label"] = label
            yield doc

    def kept(self, data: bytes, first: int, last: int) -> tuple[int, int]:
        header = HEADERS.match(data, first, last) if self.strip_headers else None
        return (header.end() if header else first), last
