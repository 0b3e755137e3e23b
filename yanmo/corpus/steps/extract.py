"""Texts that are HTML, as they come in JSON lines or Parquet, replaced by the text of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import Field

from yanmo.core.data import Document, Rejection
from yanmo.corpus.step import Edit
from yanmo.corpus.web.extractor import Limits, extracted
from yanmo.corpus.web.html import Page, Tier
from yanmo.corpus.web.pages import about, check_tier

MARKUP = re.compile(r"<(?:!doctype\b|!--|/?[a-z][a-z0-9]*\s*/?>|[a-z][a-z0-9]*\s[^<>=]*=[^<>]*>)", re.I)


class Extract(Edit):
    """Replaces HTML by the text of the page: the main text (`tier: quality` or `fast`) or all of it (`none`).

    A page that takes more than `timeout` CPU seconds or `memory_mb` of memory is dropped, and so is one without text. A
    text without a single tag is no HTML and stays as it is."""

    type: str = "extract"
    tier: Tier = "quality"
    timeout: float = Field(default=10.0, gt=0, le=3600)
    memory_mb: int = Field(default=1024, ge=512)
    max_page_bytes: int = Field(default=16 << 20, gt=0)

    def check(self) -> None:
        check_tier(self.tier, self.type)

    @property
    def limits(self) -> Limits:
        return Limits(self.tier, self.timeout, self.memory_mb, self.max_page_bytes)

    def edit(self, text: str) -> str:
        return next(found.text if found else text for _, found in extracted([(None, _page(text))], self.limits))

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        items = ((doc, _page(doc.text) if doc.rejection is None else None) for doc in docs)
        for doc, found in extracted(items, self.limits):
            if found is not None:
                about(doc, found)
                if found.reason is None:
                    doc.text = found.text
                else:  # the text as it was stays with the record of what was dropped
                    doc.rejection = Rejection(self.type, found.reason, found.value)
            yield doc


def _page(text: str) -> Page | None:
    return (text.encode("utf-8", "surrogatepass"), "utf-8") if MARKUP.search(text) else None
