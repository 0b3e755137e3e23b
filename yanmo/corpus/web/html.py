"""The main text of an HTML page, in one of three tiers.

    quality   trafilatura without its slower second opinions: F .920 on its own evaluation set (990 pages)
    fast      blocks of text judged by their links and by what the elements around them are called, without a tree
              (`prose.py`): several times as fast again, F .902 there (.899 on the half that it was not tuned on)
    none      all the text of the page, without its tags

What a page gives depends on the page alone: nothing is remembered from the ones before. Libraries are loaded when the
first page asks for them; a page can make them run for minutes or take all memory, so `extractor.py` calls this in a
process of its own.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

from yanmo.corpus.web import prose
from yanmo.corpus.web.charset import decoded
from yanmo.corpus.web.selectors import quicker

Tier = Literal["quality", "fast", "none"]
Page = tuple[bytes, str | None]  # its bytes, and its encoding where HTTP says so
Answer = tuple[str | None, str | None, str | None]  # text, title, and the class of an error
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
    (found,) = extract_all([(data, charset)], tier)
    return found


def extract_all(pages: Sequence[Page], tier: Tier) -> list[Extracted]:
    """What each page gives, alone or together with others."""
    found = [raw(data, charset) for data, charset in pages]
    good = [number for number, page in enumerate(found) if page.reason is None]
    if tier == "fast":
        texts = _together([_bytes(pages[number][0], found[number]) for number in good])
    else:
        run = _tier(tier)
        texts = [_alone(run, found[number].text) for number in good]
    for number, (text, title, failed) in zip(good, texts, strict=True):
        _, _, language, encoding, _, _ = found[number]
        title = " ".join(title.split())[:TITLE] or None if title else None
        if failed is not None:
            found[number] = Extracted("", None, language, encoding, "failed", failed)
        elif not text or text.isspace():
            found[number] = Extracted("", title, language, encoding, "no_text")
        else:
            found[number] = Extracted(text, title, language, encoding)
    return found


def _bytes(data: bytes, page: Extracted) -> bytes:
    """The page in UTF-8: as it came, where nothing of that had to be left out or replaced."""
    as_it_is = page.encoding == "utf-8" and "\ufffd" not in page.text and not data.startswith(b"\xef\xbb\xbf")
    return data if as_it_is else page.text.encode("utf-8", "replace")


def _together(pages: list[bytes]) -> list[Answer]:
    try:
        return [(text, title, None) for text, title in prose.texts(pages)]
    except MemoryError:
        raise
    except Exception as error:
        if len(pages) == 1:
            return [(None, None, type(error).__name__)]
        return [_together([page])[0] for page in pages]


def _alone(run: Callable[[str], tuple[str | None, str | None]], page: str) -> Answer:
    try:
        return (*run(page), None)
    except MemoryError:
        raise
    except Exception as error:
        return None, None, type(error).__name__


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
    return _quality() if tier == "quality" else _plain()


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


def _plain() -> Callable[[str], tuple[str | None, str | None]]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    def run(html: str) -> tuple[str | None, str | None]:
        tree = HTMLTree.parse(CONTROL.sub("", html) if CONTROL.search(html) else html)
        return extract_plain_text(tree, main_content=False, alt_texts=False, comments=True, post_meta=True), tree.title

    return run
