"""The main text of an HTML page, in one of three tiers.

    quality   trafilatura without its slower second opinions: F .920 on its own evaluation set (990 pages)
    fast      resiliparse's main content: five to six times as fast, with more of what stands around the text: F .862
    none      all the text of the page, without its tags

What a page gives depends on the page alone: nothing is remembered from the ones before. Libraries are loaded when the
first page asks for them; a page can make them run for minutes or take all memory, so `extractor.py` calls this in a
process of its own.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

from yanmo.corpus.web.charset import decoded
from yanmo.corpus.web.selectors import quicker

Tier = Literal["quality", "fast", "none"]
LIBRARIES = {"quality": ("lxml", "trafilatura"), "fast": ("resiliparse",), "none": ("resiliparse",), "raw": ("resiliparse",)}
LANGUAGE = re.compile(r"<html\b[^>]{0,1000}?\blang\s*=\s*[\"']?([A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*)", re.I)
HEAD = 4096  # characters in which the <html> tag is looked for
TITLE = 500  # characters kept of a title
CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")  # libxml2 stops at some of them
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
NONCHARACTERS = re.compile(b"\xef\xbf[\xbe\xbf]")


class Extracted(NamedTuple):
    """The text of a page, or the reason why there is none: 'no_text', 'bad_encoding', 'too_large', 'timeout', 'memory' or
    'failed'; with what the page says of itself: title, language tag (often a template's), encoding."""

    text: str = ""
    title: str | None = None
    language: str | None = None
    encoding: str | None = None
    reason: str | None = None
    value: float | str | None = None


def extract(data: bytes, tier: Tier, charset: str | None = None) -> Extracted:
    """`data` is the page, `charset` what HTTP says it is in. Errors of the libraries are the reason 'failed'."""
    page = raw(data, charset)
    if page.reason is not None:
        return page
    _, _, language, encoding, _, _ = page
    try:
        text, title = _tier(tier)(page.text)
    except MemoryError:
        raise
    except Exception as error:
        return Extracted("", None, language, encoding, "failed", type(error).__name__)
    title = " ".join(title.split())[:TITLE] or None if title else None
    if not text or text.isspace():
        return Extracted("", title, language, encoding, "no_text")
    return Extracted(text, title, language, encoding)


def raw(data: bytes, charset: str | None = None) -> Extracted:
    """The page's HTML itself as the text."""
    found = decoded(data, charset)
    if found is None:
        return Extracted(reason="bad_encoding", value=charset)
    html, encoding = found
    match = LANGUAGE.search(html, 0, HEAD)
    language = match[1].replace("_", "-") if match else None
    if not html or html.isspace():
        return Extracted("", None, language, encoding, "no_text")
    return Extracted(html, None, language, encoding)


@cache
def _tier(tier: Tier) -> Callable[[str], tuple[str | None, str | None]]:
    return _quality() if tier == "quality" else _plain(main=tier == "fast")


def _quality() -> Callable[[str], tuple[str | None, str | None]]:
    from lxml import etree
    from lxml.html import HtmlComment, HtmlElement, HTMLParser, HtmlProcessingInstruction, document_fromstring
    from trafilatura import bare_extraction, xpaths
    from trafilatura.settings import Extractor

    for expressions in vars(xpaths).values():
        if isinstance(expressions, list):
            expressions[:] = [quicker(one) if isinstance(one, etree.XPath) else one for one in expressions]
    cleaning = sys.modules["trafilatura.baseline"]
    cleaning.BASIC_CLEAN_XPATH = quicker(cleaning.BASIC_CLEAN_XPATH)  # type: ignore[attr-defined]
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    parser = HTMLParser(collect_ids=False, default_doctype=False, encoding="utf-8", remove_comments=True, remove_pis=True)
    classes = etree.ElementDefaultClassLookup(HtmlElement, HtmlComment, HtmlProcessingInstruction)
    parser.set_element_class_lookup(classes)  # lxml.html's own, for forms, is asked in Python about every element
    options = Extractor(output_format="python", fast=True, comments=False, tables=True, formatting=False)

    def run(html: str) -> tuple[str | None, str | None]:
        data = html.encode("utf-8", "replace").translate(None, CONTROLS)
        if b"\xef\xbf" in data:
            data = NONCHARACTERS.sub(b"", data)
        try:
            tree = document_fromstring(data, parser)
        except etree.ParserError:  # nothing but blank space or comments
            return None, None
        except etree.XMLSyntaxError as error:
            if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
                raise MemoryError from None
            raise
        title = tree.findtext(".//title")
        found = bare_extraction(tree, options=options)
        return (found.text if found is not None else None), title  # type: ignore[union-attr]

    return run


def _plain(*, main: bool) -> Callable[[str], tuple[str | None, str | None]]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    def run(html: str) -> tuple[str | None, str | None]:
        tree = HTMLTree.parse(CONTROL.sub("", html) if CONTROL.search(html) else html)
        return extract_plain_text(tree, main_content=main, alt_texts=False, comments=not main, post_meta=not main), tree.title

    return run
