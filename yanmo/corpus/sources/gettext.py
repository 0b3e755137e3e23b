"""Catalogs of translated messages (gettext): one document a message and its translation. Origins are the messages' numbers.

Translations marked fuzzy, and those of messages that are no longer used, are quarantined as such: nobody vouches for them.
Where only the messages themselves are wanted (`side: source`), it does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from yanmo.core.data import Document, Origin
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.corpus.formats.parallel import PairSource
from yanmo.corpus.source import Shard, written_shards
from yanmo.text import catalog


class GettextSource(PairSource):
    """Gettext catalogs (.po, .pot, .mo): one document a message and its translation.

    `side`: which text the document is: 'source', 'target', or 'both', one below the other. `languages`: {source: en, target:
    zh} for the meta; the target's is otherwise the one that the catalog's header says."""

    type: str = "gettext"

    endings: ClassVar[tuple[str, ...]] = (".po", ".pot", ".mo")

    def shards(self) -> list[Shard]:
        return [shard for _, file in self.located() for shard in written_shards(file, file.stat().st_size, cut=False)]

    def documents(self, shard: Shard) -> Iterator[Document]:
        if shard.end == 0:
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "empty_file")
            return
        try:
            header, found = catalog.read(shard.path)
        except catalog.Unreadable as error:
            yield self.quarantined("", Origin(shard.file, None, 0, 0), error.reason, error.value)
            return
        language = catalog.language_of(header)
        spoken = {"target": language} if language else {}
        for number, message in enumerate(found):
            place, raw = Origin(shard.file, None, number, number + 1), f"{message.source}\n{message.target}"
            if message.state is not None and self.side != "source":
                yield self.quarantined(raw, place, message.state)
            else:
                yield self.pair(message.source, message.target, place, raw, spoken, context=message.context)
        if not found:
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "empty_file")

    def check(self) -> None:
        if any(not file.name.lower().endswith(".mo") for _, file in self.located()):
            needed("polib", "corpus", self.type)
        super().check()

    def expects(self) -> Any:
        return text("a gettext catalog")
