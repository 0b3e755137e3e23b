"""The fast tier: which blocks of a page are its text; in time that grows with the page and no faster."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.crawl import page, paragraphs
from yanmo.corpus.web import prose, regions
from yanmo.corpus.web.html import extract
from yanmo.corpus.web.regions import AROUND, BODY, HEAD, HIDDEN, ITEM_OF, LOOSE, NAMED, NOTHING, held
from yanmo.corpus.web.tags import (
    ARTICLE,
    ASIDE,
    BUTTON,
    DIVISION,
    FOOTER,
    FORM,
    HEADER,
    ITEM,
    MAIN,
    NAVIGATION,
    PARAGRAPH,
    SECTION,
)

EN = ["The ship left the harbour at dawn, and nobody on the quay expected her to come back.", "Three years later she did, with half her crew, "
      "a hold full of tea, and a story that no newspaper would print.", "The owners paid, and asked no questions about the rest of the men."]  # fmt: skip
ZH = ["那艘船在黎明时分离开港口，码头上没有一个人指望它还会回来，连船主自己也不例外。", "三年之后它回来了，船员只剩一半，舱里装满了茶叶，还带着一个没有报纸愿意刊登的故事。",
      "船主付了钱，没有再问其他人的下落；只有老水手的妻子每天傍晚仍到码头上去。"]  # fmt: skip


def text(html: str) -> str:
    ((found, _),) = prose.texts([html.encode()])
    return found


def body(texts: list[str]) -> str:
    return "".join(f"<p>{one}</p>\n" for one in texts)


# ---------------------------------------------------------------------------------------------- what is left out


@pytest.mark.parametrize("texts", [EN, ZH])
@pytest.mark.parametrize("around", [
    "<nav>{}</nav>", "<aside>{}</aside>", "<footer>{}</footer>", "<div class='sidebar-left'>{}</div>", "<div id=relatedPosts>{}</div>", "<ul class='main-menu'><li>{}</li></ul>",
    "<div role=navigation>{}</div>", "<section class='entry comments-area'>{}</section>", "<div style='display: none'>{}</div>", "<div hidden>{}</div>", "<header>{}</header>",
    "<form>{}</form>", "<script>{}</script>", "<!-- {} -->", "<noscript>{}</noscript>", "<div class=a><a href=x>{}</a></div>", "<p class='byline'>{}</p>",
])  # fmt: skip
def test_what_stands_around_the_text_is_left_out(texts, around):
    other = {"EN": "Read more of our stories about the sea.", "ZH": "更多关于大海的故事请看这里。"}["EN" if texts is EN else "ZH"]
    html = f"<html><body>{around.format(other)}<div class=page>{body(texts)}</div>{around.format(other)}</body></html>"
    assert text(html) == "\n".join(texts)


@pytest.mark.parametrize("texts", [EN, ZH])
def test_an_element_that_holds_most_of_the_text_is_kept_whatever_it_is_called(texts):
    for html in (f"<aside>{body(texts)}</aside>", f"<div class=sidebar>{body(texts)}</div>", f"<form id=aspnetForm>{body(texts)}</form>", f"<div hidden>{body(texts)}</div>"):
        assert text(f"<body><p>Short.</p>{html}</body>").endswith("\n".join(texts))


@pytest.mark.parametrize("texts", [EN, ZH])
@pytest.mark.parametrize("place", ["<article>{}</article>", "<main>{}</main>", "<div class='entry-content'>{}</div>", "<div itemprop=articleBody>{}</div>", "<div id=content>{}</div>"])
def test_where_an_element_says_that_it_holds_the_text_nothing_outside_counts(texts, place):
    outside = "<div><p>This paragraph, long as it is and with all its commas, is somewhere else on the page.</p></div>"
    found = text(f"<body>{outside}{place.format('<h2>Part 1</h2>' + body(texts) + '<span>Ends.</span>')}{outside}</body>")
    assert found == "\n".join(["Part 1", *texts, "Ends."])


def test_the_surest_and_inmost_place_counts():
    html = f"<main><p>{EN[0]}</p><article><div class='story-body'>{body(EN * 2)}</div></article></main>"
    assert text(html) == "\n".join(EN * 2)
    little = f"<div class='story-body'><p>Too little.</p></div><article>{body(EN * 2)}</article><p>{EN[0]}</p>"
    assert text(little) == "\n".join(EN * 2)


def test_little_text_is_better_than_none():
    for html, expected in [("<p>Short.", "Short."), ("plain words", "plain words"), ("<a href=x>a link</a>", "a link"), ("<td>一</td>", "一"), ("<div>" * 999 + "deep", "deep"),
                           ("<h1>Only a title</h1>", "Only a title"), ("", ""), ("<p> \n </p>", ""), ("<title>t</title>", ""), ("<!-- no -->", ""), ("🙂", "🙂")]:  # fmt: skip
        assert text(html) == expected


# ---------------------------------------------------------------------------------------------- how it is written


def test_inline_tags_blanks_breaks_and_entities():
    html = "<p>One&nbsp;<b>two</b>\n   <i>three</i>,\tfour&quot;five&#39;s&quot; a&amp;lt;b &lt;i&gt; &#20013;&eacute;<br>next  line<br/><br/>third</p>"
    assert text(html) == 'One two three, four"five\'s" a&lt;b <i> 中é\nnext line\nthird'
    assert text("<p>caf\u0065\u0301 👩‍👩‍👧‍👦 天<b>地</b>玄黄</p>") == "cafe\u0301 👩‍👩‍👧‍👦 天地玄黄"
    assert text("<p>a<script>x</script>b<!-- c -->d</p>") == "abd"


def test_lists_tables_and_what_is_preformatted():
    assert text("<ul><li>one</li><li>two <b>2</b></li></ul>") == "- one\n- two 2"
    assert text("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td>\n<td>2</td></tr></table>") == "a | b\n1 | 2"
    assert text("<pre>\n  if x:\n    return\t1\n</pre><p>and   so</p>") == "  if x:\n    return\t1\nand so"


def test_headings_of_what_is_left_out_are_left_out():
    html = f"<body>{body(EN)}<h2>Part two</h2>{body(EN)}<h3>Related</h3><ul><li><a href=x>One of many links</a></li></ul><h3>More</h3></body>"
    assert text(html) == "\n".join([*EN, "Part two", *EN])


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5", "utf-16"])
def test_encodings(encoding):
    texts = [one for one in ZH if encoding != "big5"] or ["卻說曹操引軍追趕劉備，至江邊見長阪橋上一人橫矛立馬，厲聲大喝，眾皆失色。"] * 2
    html = f"<html><head><meta charset={encoding}><title>船</title></head><body><nav><a href=/>首頁</a></nav>{body(texts)}</body></html>"
    found = extract(html.encode(encoding), "fast", encoding)
    assert (found.text, found.title, found.reason) == ("\n".join(texts), "船", None)


# ---------------------------------------------------------------------------------------------- what elements hold


@pytest.mark.parametrize(("tag", "kind", "expected"), [
    ('<div class="post-content clearfix"', DIVISION, BODY), ('<div itemprop="articleBody"', DIVISION, BODY), ("<article", ARTICLE, ITEM_OF), ("<main", MAIN, LOOSE),
    ('<div role="main"', DIVISION, LOOSE), ('<div class="hentry"', DIVISION, ITEM_OF), ('<div class="row"', DIVISION, NOTHING), ('<div class="navy blue"', DIVISION, NOTHING),
    ('<div class="site-nav"', DIVISION, AROUND), ('<div class="siteNav"', DIVISION, AROUND), ('<div CLASS=Sidebar', DIVISION, AROUND), ("<div class='share-bar'", DIVISION, AROUND),
    ('<article class="post category-news tag-sea"', ARTICLE, ITEM_OF), ('<article class="teaser"', ARTICLE, AROUND), ("<nav", NAVIGATION, NAMED), ("<aside", ASIDE, NAMED),
    ("<footer", FOOTER, NAMED), ("<form", FORM, NAMED), ("<button", BUTTON, NAMED), ("<header", HEADER, HEAD), ('<p style="color:red;display : none"', PARAGRAPH, HIDDEN),
    ("<section hidden", SECTION, HIDDEN), ('<li role="menu"', ITEM, NAMED), ('<div data-hidden="x" title="sidebar"', DIVISION, NOTHING), ('<div class="正文 content"', DIVISION, LOOSE),
])  # fmt: skip
def test_what_tags_say(tag, kind, expected):
    assert held(tag.encode(), kind) == expected


def test_what_is_remembered_of_tags_is_bounded(monkeypatch):
    monkeypatch.setattr(regions, "KNOWN", 100)
    regions.known.clear()
    for number in range(500):
        assert held(f"<div class='sidebar' id='a{number}'".encode(), DIVISION) == AROUND
        assert len(regions.known) <= 100
    regions.known.clear()
    assert held(b"<div class='sidebar' style='background:url(data:" + b"A" * 1_000_000 + b")'", DIVISION) == AROUND
    assert not regions.known, "a megabyte each"


def test_ends_of_elements():
    from yanmo.corpus.web.tags import CLOSING

    opens, closes = DIVISION, DIVISION | CLOSING
    codes = bytes([opens, opens, closes, SECTION, closes, opens, PARAGRAPH, PARAGRAPH, closes])
    ends = regions.Ends(codes, 0, len(codes))
    assert [ends.of(0, opens), ends.of(1, opens), ends.of(5, opens), ends.of(3, SECTION), ends.of(6, PARAGRAPH), ends.of(7, PARAGRAPH)] == [4, 2, 8, -1, 7, 9]
    deep = regions.Ends(bytes([opens] * 50_000 + [closes] * 50_000), 0, 100_000)
    started = time.process_time()
    assert deep.of(0, opens) == 99_999
    found = [deep.of(number, opens) for number in range(1, 50_000)]
    assert found[0] == 99_998, "within the steps allowed"
    assert found[-1] == -1, "beyond them"
    assert time.process_time() - started < 3


# ---------------------------------------------------------------------------------------------- any page


def test_pages_together_give_what_they_give_alone():
    pages = [page(f"Page {i}", paragraphs(i, ("en", "zh")[i % 2]), ("en", "zh")[i % 2], "utf-8", "utf-8") for i in range(30)]
    pages[5:5] = [b"", b"<div", b"<!--", b"<a href='", b"<script>", b"<a href=x>never closed", b"</a></p>", b"<title>"]
    alone = [prose.texts([one])[0] for one in pages]
    assert prose.texts(pages) == alone
    assert prose.texts(pages[::-1]) == alone[::-1]
    assert prose.texts([]) == []


MARKUP = st.lists(st.sampled_from(["<p>", "</p>", "<div class=sidebar>", "<div class='entry-content'>", "</div>", "<a href=x>", "</a>", "<!--", "-->", "<script>", "</script>", "<h2>", "<li>",
                                   "<br>", "<td>", "<", ">", '"', "='", "&amp;", "words, of course", "天地玄黄，宇宙洪荒。", "\n", "é", "\0", "<article>", "</article>", "<pre>"]),
                  max_size=40).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(MARKUP, min_size=1, max_size=4))
def test_any_pages_together_give_what_they_give_alone(pages):
    data = [one.encode() for one in pages]
    assert prose.texts(data) == [prose.texts([one])[0] for one in data]


HOSTILE = {
    "divisions": b"<div>", "flagged": b"<div class=sidebar>text, and ", "places": b"<div class=content>text, and more of it, ", "closed": b"</div>", "halves": b"<nav>x</p>", "openers": b"<a",
    "quotes": b"<a href=\"", "mixed": b"<a b='\">", "values": b"<p a = ", "comments": b"<!--", "comment ends": b"<!-- -- >", "scripts": b"<script>", "raws": b"<svg></style>", "titles": b"<title>",
    "entities": b"&amp;&#x1F600;&bad;", "blanks": b"\n \t", "paragraphs": b"<p class=a>", "lists": b"<ul><li>a", "links": b"<a href=x>y", "closers": b">", "breaks": b"a<br>", "cells": b"<td>1",
    "sections": b"<section class=entry><nav>", "heads": b"<h1>x", "attributes": b" class=x id=y", "camel": b"<div class=aAaAaAaA>", "text": b"word, ", "pis": b"<?x", "cdata": b"<![CDATA[",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_page_and_no_faster(name):
    unit = HOSTILE[name]
    small, large = (unit * (size // len(unit)) for size in (40_000, 640_000))
    assert prose.texts([b"<div " + large + b"</nav>" * 1000]) is not None
    times = []
    for data in (small, large):
        best = 9.0
        for _ in range(2):
            started = time.process_time()
            prose.texts([data])
            best = min(best, time.process_time() - started)
        times.append(best)
    assert times[1] < max(16 * 4 * times[0], 0.5), times
    assert times[1] < 3


def test_random_bytes():
    rng = random.Random(5)
    for size in (10, 1000, 50_000):
        for _ in range(5):
            ((found, _),) = prose.texts([rng.randbytes(size)])
            found.encode("utf-8")
