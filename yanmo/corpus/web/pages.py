"""Sources whose documents are pages of HTML: read in one process, turned into text in another, in the order of reading."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import ClassVar, Literal

from pydantic import Field

from yanmo.core.data import Document, Rejection, content_id
from yanmo.core.extras import needed
from yanmo.corpus.source import Shard, Source
from yanmo.corpus.web.extractor import Limits, extracted
from yanmo.corpus.web.html import LIBRARIES, Extracted, Page, Tier, raw

STEP = "extract"  # the step of a rejection that says: this page gave no text
SHOWN = 200  # characters of a page without text that are kept

Found = tuple[Document, Page | None]  # a page's document without text, and the page; or a document that is complete


class PageSource(Source):
    """A source of HTML pages.

    `extract`: how the text is found in them: the main text in `quality` or `fast`, all of it (`none`), or the HTML itself
    (`raw`, for a step `extract` later on). A page that takes more than `timeout` CPU seconds or `memory_mb` is dropped."""

    extract: Literal["quality", "fast", "none", "raw"] = "quality"
    timeout: float = Field(default=10.0, gt=0, le=3600)
    memory_mb: int = Field(default=1024, ge=512)
    max_page_bytes: int = Field(default=16 << 20, gt=0)

    costly: ClassVar[bool] = True

    def found(self, shard: Shard) -> Iterator[Found]:
        """The shard's pages, its documents that are dropped already and its quarantined records, in order."""
        raise NotImplementedError

    def documents(self, shard: Shard) -> Iterator[Document]:
        return self.read(shard)

    def read(self, shard: Shard, after: int = 0) -> Iterator[Document]:
        found = islice(self.found(shard), after, None)
        if self.extract == "raw":
            for doc, page in found:
                yield doc if page is None else with_text(doc, self._raw(page), page)
            return
        limits = Limits(self.extract, self.timeout, self.memory_mb, self.max_page_bytes)
        for (doc, page), result in extracted(((item, item[1]) for item in found), limits):
            yield doc if result is None or page is None else with_text(doc, result, page)

    def _raw(self, page: Page) -> Extracted:
        size = len(page[0])
        return raw(*page) if size <= self.max_page_bytes else Extracted(reason="too_large", value=size)

    def check(self) -> None:
        check_tier(self.extract, self.type)
        super().check()


def check_tier(tier: Tier | Literal["raw"], where: str) -> None:
    """RequestError where a library that the tier takes is not installed."""
    for library in LIBRARIES[tier]:
        needed(library, "corpus", where)


def with_text(doc: Document, found: Extracted, page: Page) -> Document:
    """The page's document with its text, or with the reason why it has none and an excerpt."""
    about(doc, found)
    if found.reason is None:
        doc.text = found.text
    else:
        doc.text = excerpt(page[0])
        doc.rejection = Rejection(STEP, found.reason, found.value)
    doc.id = content_id(doc.text)
    return doc


def about(doc: Document, found: Extracted) -> None:
    """What the page says of itself, into `meta`: `title`, `html_lang` (often a template's), `encoding` (if not UTF-8)."""
    said = {"title": found.title, "html_lang": found.language, "encoding": found.encoding if found.encoding != "utf-8" else None}
    doc.meta = {**doc.meta, **{key: value for key, value in said.items() if value}}


def excerpt(data: bytes) -> str:
    """The first characters of a page that has no text, controls left out."""
    shown = data[: 4 * SHOWN].decode("utf-8", "ignore")
    return "".join(c for c in shown if c.isprintable() or c == "\n")[:SHOWN]
