"""Tags found in arrays, against Python's own parser of HTML and on what a parser stumbles over."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.crawl import page, paragraphs
from yanmo.corpus.web import tags as module
from yanmo.corpus.web.tags import BORDER, BREAK, HEADING, INLINE, LINK, NAMES, PARAGRAPH, names, tags


def shown(*pages: str) -> list[list[str]]:
    """The tags of each page as they stand there, those of the borders left out."""
    found = tags([page.encode() for page in pages])
    all_ = [found.data[place : end + 1].decode() for place, end in zip(found.places.tolist(), found.ends.tolist())]
    firsts = [3, *(end + 1 for end in found.pages.tolist())]
    return [all_[first : end - 2] for first, end in zip(firsts, found.pages.tolist())]


def kinds(page: str) -> list[int]:
    found = tags([page.encode()])
    return found.kinds[3 : found.pages[0] - 2].tolist()


def test_every_name_has_a_slot_and_is_known_in_any_case():
    factor, held, _ = names()
    assert np.count_nonzero(held) == len({name[:8] for all_ in NAMES.values() for name in all_.split()})
    for kind, all_ in NAMES.items():
        for name in all_.split():
            name = "h3" if name == "h" else name
            for tag in (f"<{name}>", f"<{name.upper()} id=x>", f"<{name}\n>", f"<{name}/>"):
                if kind not in (module.RAW, module.TITLE):
                    assert kinds(f"{tag}text") == [kind], tag
            assert kinds(f"</{name}>") == [kind]
    assert kinds("<headline><pp><px-p><ab><b><articles>") == [INLINE] * 6
    assert kinds("<h1><h6><hr><header>")[:2] == [HEADING, HEADING]
    assert factor


def test_what_is_a_tag():
    assert shown("a < b <b>x</b> 1<2 <3 <p>&lt;i&gt;</p> <") == [["<b>", "</b>", "<p>", "</p>"]]
    assert shown("<p title='a > b' class=x>t</p>") == [["<p title='a > b' class=x>", "</p>"]]
    assert shown('<a data-x="<p>no</p>" href=x>y</a>') == [['<a data-x="<p>no</p>" href=x>', "</a>"]]
    assert shown('<p title="it\'s">Don\'t "quote" me > him</p><b>') == [['<p title="it\'s">', "</p>", "<b>"]]
    assert shown("<!-- <p>no</p> --><p>yes") == [["<!-- <p>no</p> -->", "<p>"]]
    assert shown("<!doctype html><?php echo '<p>' ?><p>") == [["<!doctype html>", "<?php echo '<p>", "<p>"]], "as a browser reads it"
    assert shown("<script>if (a<b) { x = '</p><p>' }</script><p>") == [["<script>if (a<b) { x = '</p><p>' }</script>", "<p>"]]
    assert shown("<SCRIPT src=x/>1</Script><svg/><p><style>a<b</style>") == [
        ["<SCRIPT src=x/>1</Script>", "<svg/>", "<p>", "<style>a<b</style>"]
    ]
    assert shown("<svg><title>no</title></svg><p>") == [["<svg><title>no</title></svg>", "<p>"]]


def test_what_is_not_ended():
    assert shown("<p>a<script>var x = '<p>'; <b>", "<p>b")[1] == ["<p>"]
    assert shown("<p>a<!-- never <b>ended", "<i>b") == [["<p>", "<!-- never <b>"], ["<i>"]]
    assert shown("<p>a<select><b>", "</select><i>") == [["<p>", "<select>", "<b>"], ["</select>", "<i>"]]
    assert shown('<p>a<a href="x>link</a><b>c', '"><i>') == [["<p>", '<a href="x>', "</a>", "<b>"], ["<i>"]]
    assert shown("<p>a<div class='", "<p>b")[1] == ["<p>"]
    assert tags([b"<a href=x>text <b"]).closing[-2], "the border's second closing tag ends the link"


def test_titles():
    found = tags([b"<title>One</title><title>two</title>", b"<p>", b"<svg><title>no</title></svg><TITLE lang=en> A &amp; B </title>", b"<title>x"])
    assert found.titles == {0: b"One", 2: b" A &amp; B "}


NAME = re.compile(r"<(/?[a-zA-Z0-9]+)")


class Reference(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        self.seen.append("/" + tag)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_same_tags_as_pythons_parser_on_ordinary_pages(language):
    for number in range(20):
        data = page(f"P {number}", paragraphs(number, language), language)
        reference = Reference()
        reference.feed(data.decode())
        found = [NAME.match(tag)[1].lower() for tag in shown(data.decode())[0] if not tag.startswith("<!")]
        raw = {"script", "style", "noscript", "template", "svg", "iframe", "textarea", "select", "object", "title"}
        expected, until = [], None
        for name in reference.seen:
            if until is None:
                expected.append(name)
                until = "/" + name if name in raw else None
            elif name == until:
                until = None
        assert found == expected


MARKUP = st.text(alphabet="<<>>/!-='\" apdivscrtle\n天é\0", max_size=120)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(MARKUP, min_size=1, max_size=4))
def test_a_page_has_the_same_tags_alone_and_among_others(pages):
    assert shown(*pages) == [shown(page)[0] for page in pages]
    found = tags([page.encode() for page in pages])
    assert np.all(found.places[1:] > found.ends[:-1])
    assert np.all(found.kinds[found.pages] == PARAGRAPH)
    assert len(found.pages) == len(pages)
    assert PARAGRAPH >= BREAK > LINK
    assert found.data.count(BORDER) >= len(pages) + 1
