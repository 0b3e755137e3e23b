"""Wikipedia: MediaWiki XML dumps, one document a page, its wikitext cleaned.

A plain .xml is read by byte ranges, a multistream .xml.bz2 by its streams (`wiki_dump.py`), so that one dump feeds every
worker; any other .bz2 and a .gz are one shard. The origin is the page's `<page>…</page>` in the decompressed file or
bz2 stream ('@N'). A page is parsed on its own, with no entities but those of XML, no document type, no network.

Pages outside `namespaces`, redirects, pages in another model than wikitext and pages of which nothing is left are
dropped ('wikipedia.redirect' …), with the beginning of their wikitext. Broken pages and the places at which a file is
damaged are quarantined; what came before and, in a multistream dump, what comes after is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field

from yanmo.core.data import Document, Origin, Rejection, content_id
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.corpus.formats import wiki_dump
from yanmo.corpus.formats.wiki_dump import Piece, Site
from yanmo.corpus.source import EXCERPT, SHARD_BYTES, Shard, Source, written_shards
from yanmo.corpus.wikitext.markup import Markup, clean
from yanmo.corpus.wikitext.names import DISAMBIGUATION, REMOVED, SECTIONS

STREAMS = "@"  # the member of a shard that is streams of a multistream dump
HUGE = 9_000_000  # bytes above which libxml2 has to be told that a text may be long
REDIRECT = re.compile(r"\s{0,100}#(?:redirect|重定向|重新導向)\s{0,10}:?\s{0,10}\[\[", re.IGNORECASE)
TITLE_OF_DISAMBIGUATION = re.compile(r"[(（](?:disambiguation|消歧[义義])[)）]\s*\Z", re.IGNORECASE)
SAFE = "/:,;@$!*()'~"  # left as they are in an address, as MediaWiki does


class WikipediaSource(Source):
    """Wikipedia dumps (MediaWiki XML, plain, .bz2, .gz): one document a page, its markup cleaned.

    `namespaces`: those that are kept, 0 are the articles. `disambiguation`: keep or drop pages that only lead to others.
    `tables`: drop, or text for a line a row. `drop_sections`: true leaves out references, external links and their like
    (English and Chinese names), a list of headings those, false none. `variant`: which side of -{zh-hans:…;zh-hant:…}-
    is read. A page above `max_page_bytes` is quarantined.
    """

    type: str = "wikipedia"
    namespaces: list[int] = Field(default=[0], min_length=1)
    disambiguation: Literal["keep", "drop"] = "keep"
    tables: Literal["drop", "text"] = "drop"
    drop_sections: bool | list[str] = True
    variant: Literal["zh-hans", "zh-hant", "zh-cn", "zh-tw", "zh-hk", "zh-sg"] = "zh-hans"
    max_page_bytes: int = Field(default=16 << 20, ge=8 << 10)

    endings: ClassVar[tuple[str, ...]] = (".xml", ".bz2", ".gz")
    costly: ClassVar[bool] = True

    def located(self) -> list[tuple[str | None, Path]]:
        """As every source; of several files only those with '.xml' in their name, for a dump's index lies beside it."""
        found = super().located()
        return [(split, file) for split, file in found if ".xml" in file.name.lower()] or found

    def shards(self) -> list[Shard]:
        return [shard for _, file in self.located() for shard in _shards(file)]

    def documents(self, shard: Shard) -> Iterator[Document]:
        return self._documents(shard, 0)

    def read(self, shard: Shard, after: int = 0) -> Iterator[Document]:
        """As every source; the pages before record number `after` are found, and not cleaned."""
        try:
            yield from self._documents(shard, after)
        except FileNotFoundError:
            shard.check_unchanged()
            raise
        shard.check_unchanged()

    def _documents(self, shard: Shard, after: int) -> Iterator[Document]:
        if shard.end == 0:
            origin = Origin(shard.file, None if shard.member == STREAMS else shard.member, 0, 0)
            yield from [self.quarantined("", origin, "empty_file")][after:]
            return
        etree = needed("lxml.etree", "corpus", self.type)
        site = wiki_dump.site(shard.path)
        reader = _Reader(self, shard, site, etree)
        number = -1
        for number, piece in enumerate(self._pieces(shard)):
            if number >= after:
                yield reader.document(piece)
        if number < 0 and shard.start == 0 and (shard.end == shard.path.stat().st_size or not site.is_dump) and not after:
            origin = Origin(shard.file, None if shard.member == STREAMS else shard.member, 0, 0)
            yield self.quarantined("", origin, "no_pages", "no <page> in it")

    def _pieces(self, shard: Shard) -> Iterator[Piece]:
        path = shard.path
        if shard.member == STREAMS:
            return wiki_dump.stream_pages(path, shard.start, shard.end, self.max_page_bytes)
        if shard.member is None:
            return wiki_dump.pages(wiki_dump.plain(path, shard.start), shard.start, shard.end, self.max_page_bytes)
        return wiki_dump.whole_pages(path, self.max_page_bytes)

    def check(self) -> None:
        needed("lxml.etree", "corpus", self.type)
        super().check()

    def expects(self) -> Any:
        return text("a MediaWiki XML dump")


def _shards(file: Path) -> list[Shard]:
    size, ending = file.stat().st_size, file.suffix.lower()
    if ending not in (".bz2", ".gz"):
        return written_shards(file, size)
    cuts = wiki_dump.cuts(file, SHARD_BYTES) if ending == ".bz2" and size else None
    if cuts is None:
        return written_shards(file, size, file.stem, cut=False)
    name = written(file)
    return [Shard(name, STREAMS, start, end, end - start) for start, end in zip(cuts, [*cuts[1:], size])]


class _Reader:
    """Makes documents of the pages of one shard."""

    def __init__(self, source: WikipediaSource, shard: Shard, site: Site, etree: Any):
        self.source, self.shard, self.site, self.etree = source, shard, site, etree
        self.member = None if shard.member == STREAMS else shard.member
        safe = {"resolve_entities": False, "no_network": True, "load_dtd": False, "recover": False, "remove_comments": True}
        self.parsers = [etree.XMLParser(huge_tree=huge, **safe) for huge in (False, True)]
        names = {site.namespaces.get(number, "") for number in (6, 14)}
        sections = source.drop_sections
        self.markup = Markup(
            source.variant, source.tables,
            SECTIONS if sections is True else frozenset(name.strip().casefold() for name in sections or ()),
            REMOVED | {name.lower() for name in names if name},
        )  # fmt: skip
        self.language = source.language or site.language
        self.namespaces = frozenset(source.namespaces)

    def document(self, piece: Piece) -> Document:
        origin = Origin(self.shard.file, piece.member or self.member, piece.start, piece.end)
        if piece.reason is not None:
            return self.source.quarantined(piece.data, origin, piece.reason, piece.value)
        try:
            page = self.etree.fromstring(piece.data, self.parsers[len(piece.data) > HUGE])
        except (self.etree.XMLSyntaxError, ValueError) as error:
            return self.source.quarantined(piece.data, origin, "bad_page", " ".join(str(error).split()))
        revision = page.findall("revision")[-1:]  # of a page's whole history, the last
        title = page.findtext("title")
        if not revision or not title:
            missing = "<revision>" if title else "<title>"
            return self.source.quarantined(piece.data, origin, "bad_page", f"no {missing} in it")
        source = revision[0].findtext("text") or ""
        reason, value = self._unwanted(page, revision[0], title, source)
        body = source[:EXCERPT] if reason else clean(source, self.markup)
        if not body and not reason:
            body, reason = source[:EXCERPT], "empty"
        doc = Document(content_id(body), body, origin, self.source.name, self._meta(page, revision[0], title))
        if reason:
            doc.rejection = Rejection(self.source.type, reason, value)
        return doc

    def _unwanted(self, page: Any, revision: Any, title: str, source: str) -> tuple[str | None, float | str | None]:
        """(reason, value) of a page that is no article's text."""
        number = page.findtext("ns")
        namespace = int(number) if number and re.fullmatch(r"-?[0-9]{1,9}", number) else self.site.number(title)
        if namespace not in self.namespaces:
            return "namespace", namespace
        redirect = page.find("redirect")
        if redirect is not None or REDIRECT.match(source):
            return "redirect", redirect.get("title") if redirect is not None else None
        model = revision.findtext("model") or "wikitext"
        if model != "wikitext":
            return "model", model
        if self.source.disambiguation == "drop" and (TITLE_OF_DISAMBIGUATION.search(title) or DISAMBIGUATION.search(source)):
            return "disambiguation", None
        return None, None

    def _meta(self, page: Any, revision: Any, title: str) -> dict[str, Any]:
        meta: dict[str, Any] = {"title": title}
        for key, found in (("page_id", page.findtext("id")), ("revision_id", revision.findtext("id"))):
            if found and found.isascii() and found.isdigit():
                meta[key] = int(found[:18])
        if self.site.prefix:
            meta["url"] = self.site.prefix + quote(title.replace(" ", "_"), safe=SAFE)
        if when := revision.findtext("timestamp"):
            meta["timestamp"] = when
        if self.language:
            meta["language"] = self.language
        return meta
