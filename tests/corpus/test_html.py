"""Pages to text: encodings, the three tiers, and pages of which there is nothing to be had."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import read, run, small_shards
from tests.corpus.crawl import page, paragraphs
from yanmo.core.errors import DataError, RequestError
from yanmo.core.registry import create
from yanmo.corpus.web.charset import codec, decoded
from yanmo.corpus.web.extractor import Extractor, Limits
from yanmo.corpus.web.html import extract, raw

SIMPLIFIED = "却说曹操引军追赶刘备，至江边见长坂桥上一人横矛立马，厉声大喝，众皆失色。"
TRADITIONAL = "卻說曹操引軍追趕劉備，至江邊見長阪橋上一人橫矛立馬，厲聲大喝，眾皆失色。"
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
KOREAN = "나랏말싸미 듕귁에 달아 문자와로 서르 사맛디 아니할쎄"
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему."
FRENCH = "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, où l’âme"


# ---------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize(("label", "name"), [
    ("GB2312", "gb18030"), ("gbk", "gb18030"), ("GB_2312-80", "gb18030"), (" 'Big5' ", "big5hkscs"), ("Shift_JIS", "cp932"), ("x-sjis", "cp932"),
    ("EUC-JP", "euc_jp"), ("ks_c_5601-1987", "cp949"), ("ISO-8859-1", "cp1252"), ("us-ascii", "cp1252"), ("UTF8", "utf-8"), ("windows-1251", "cp1251"),
    ("KOI8-R", "koi8-r"), ("iso-2022-jp", "iso2022_jp"), ("base64", None), ("rot13", None), ("klingon", None), ("", None), ("\x00", None),
    ("unicode_escape", None), ("idna", None), ("zip", None),
])  # fmt: skip
def test_labels_mean_what_browsers_take_them_for(label, name):
    assert codec(label) == name


@pytest.mark.parametrize(("text", "encoding", "said", "meta"), [
    (SIMPLIFIED, "utf-8", None, None), (SIMPLIFIED, "utf-8", "iso-8859-1", None), (SIMPLIFIED, "utf-8", None, "gb2312"),
    (SIMPLIFIED, "gb18030", None, None), (SIMPLIFIED, "gb18030", "utf-8", None), (SIMPLIFIED, "gb18030", "utf-8", "gb2312"), (SIMPLIFIED, "hz", "hz-gb-2312", None),
    (TRADITIONAL, "big5", "big5", None), (TRADITIONAL, "big5", None, None), (TRADITIONAL + "裏碁銹恒嫺", "cp950", "big5", None),
    (TRADITIONAL, "gb18030", None, "gbk"), (JAPANESE, "cp932", "shift_jis", None), (JAPANESE, "cp932", None, None), (JAPANESE, "euc_jp", None, None),
    (JAPANESE, "iso2022_jp", None, "iso-2022-jp"), (KOREAN, "cp949", "euc-kr", None), (RUSSIAN, "cp1251", None, None), (RUSSIAN, "koi8-r", None, "koi8-r"),
    (FRENCH, "cp1252", "iso-8859-1", None), (FRENCH, "cp1252", None, None), (SIMPLIFIED, "utf-16-le", "utf-16", None), ("ASCII alone", "ascii", "gbk", None),
    ("联通", "gb18030", None, "gb2312"), ("é", "utf-8", "iso-8859-1", "utf-8"), ("👩‍👩‍👧‍👦 混排 mixed", "utf-8", None, None), ("𠮷野家", "gb18030", "gb2312", None),
])  # fmt: skip
def test_the_declared_encoding_where_it_holds_else_what_the_bytes_show(text, encoding, said, meta):
    head = f'<html><head><meta http-equiv="Content-Type" content="text/html; charset={meta}"></head>' if meta else "<html><head></head>"
    html = f"{head}<body><p>{text if len(text) < 10 else text * 5}</p></body></html>"
    found = decoded(html.encode(encoding), said)
    assert found is not None
    assert found[0] == html


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_decides(encoding):
    assert decoded(SIMPLIFIED.encode(encoding), "big5")[0] == SIMPLIFIED


def test_an_xml_declaration_counts():
    html = f'<?xml version="1.0" encoding="GB2312"?><html><body>{SIMPLIFIED}</body></html>'
    assert decoded(html.encode("gb18030")) == (html, "gb18030")


def test_a_few_broken_bytes_are_replaced_and_many_are_too_many():
    good = f"<p>{SIMPLIFIED * 40}</p>".encode()
    text, name = decoded(good[:300] + b"\xff" + good[300:], "utf-8")
    assert name == "utf-8"
    assert 1 <= text.count("\ufffd") <= 3
    text, name = decoded(("<p>" + SIMPLIFIED * 40).encode("gb18030")[:-1], "gbk")
    assert name == "gb18030"
    assert SIMPLIFIED in text
    assert decoded(b"<html>" + b"\x00\x01\x02\xff" * 500) is None
    assert raw(random.Random(0).randbytes(4000), "utf-8").reason == "bad_encoding"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "gb2312", "big5", "utf-16", "nonsense", "iso-2022-jp"]))
def test_any_bytes_give_clean_text_or_none(data, said):
    found = decoded(data, said)
    if found is not None:
        found[0].encode("utf-8")


# ---------------------------------------------------------------------------------------------- tiers


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("tier", ["quality", "fast", "none"])
def test_tiers(tier, language):
    texts = paragraphs(7, language)
    found = extract(page("A title & more", texts, language), tier)
    assert all(text in found.text for text in texts)
    assert (found.title, found.language, found.encoding, found.reason) == ("A title & more", {"en": "en", "zh": "zh-CN"}[language], "utf-8", None)
    assert ("All rights reserved" in found.text or "版权所有" in found.text) == (tier == "none")
    assert "tracker" not in found.text
    assert "<" not in found.text


@pytest.mark.parametrize("tier", ["quality", "fast"])
def test_a_page_gives_the_same_whatever_came_before(tier):
    """No cache of segments seen: the same paragraph on a hundred pages is on each of them."""
    pages = [page(f"{i}", [*paragraphs(99)[:2], *paragraphs(i)]) for i in range(100)]
    texts = [extract(data, tier).text for data in pages]
    assert all(paragraphs(99)[0] in text for text in texts)
    assert [extract(data, tier).text for data in reversed(pages)] == texts[::-1]


@pytest.mark.parametrize("tier", ["quality", "fast", "none"])
@pytest.mark.parametrize("data", [
    b"<html></html>", b"<html><body><script>alert(1)</script></body></html>", b"   ", b"<!-- only a comment -->", b"<p> \n&nbsp; </p>",
    b"<html><body><p>\x00\x01\x08</p></body></html>", b"<title>only a title</title>", b"<?php ?>",
])  # fmt: skip
def test_pages_without_text_say_so(tier, data):
    assert extract(data, tier).reason == "no_text"


PATHOLOGICAL = [
    b"<div>" * 100_000 + b"deep", b"<table>" + b"<tr><td colspan=99999999 rowspan=99999999>cell</td></tr>" * 50 + b"</table>", b"<" * 100_000, b"</p>" * 50_000,
    b"<a href='" + b"x" * 1_000_000 + b"'>link</a>", b"<ul>" + b"<li><ul>" * 5000 + b"item", b"&" * 200_000, b"<b><i>" * 20_000 + b"words", b"<p>" + b"\xed\xa0\x80" * 10,
    b"<html\x00 lang=en><body><p>" + b"null \x00 byte and text that goes on " * 20 + b"</p>", "<p>\ufffe\uffff words</p>".encode() * 100,
]  # fmt: skip


@pytest.mark.parametrize("tier", ["quality", "fast", "none"])
def test_pathological_pages_end_in_text_or_a_reason(tier):
    """In a child: some of them take one library or the other for ever."""
    child = Extractor(Limits(tier=tier, timeout=1))
    try:
        results = child.pages([(data, None) for data in PATHOLOGICAL])
    finally:
        child.close()
    assert len(results) == len(PATHOLOGICAL)
    for found in results:
        assert bool(found.text) == (found.reason is None)
        assert found.reason in (None, "no_text", "timeout", "failed", "bad_encoding")
        found.text.encode("utf-8")
        assert tier != "quality" or not {"\x00", "\ufffe"} & set(found.text)
    assert sum(found.reason is None for found in results) >= 5


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet="<>/&;\"'=!- apdivtrlbh1\n天。é\x00\ud800", max_size=200).map(lambda s: s.encode("utf-8", "surrogatepass")), st.sampled_from(["quality", "fast", "none"]))
def test_any_markup_ends_in_text_or_a_reason(data, tier):
    found = extract(data, tier)
    assert bool(found.text) == (found.reason is None)
    found.text.encode("utf-8")


# ---------------------------------------------------------------------------------------------- a folder of pages


def folder_of_pages(folder, count=60):
    for i in range(count):
        language = "zh" if i % 3 == 0 else "en"
        path = folder / "site" / f"{i % 4}" / f"{i:03d}.{('html', 'htm', 'xhtml')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(page(f"Page {i}", paragraphs(i, language), language, "gb2312" if language == "zh" else "utf-8", "gb18030" if language == "zh" else "utf-8"))
    (folder / "site" / "style.css").write_text("p {}")


def test_a_folder_of_pages(folder, monkeypatch):
    folder_of_pages(folder)
    (folder / "site" / "0" / "empty.html").write_bytes(b"")
    (folder / "site" / "0" / "large.html").write_bytes(b"<p>" + b"x" * 200_000)
    settings_ = {"type": "html", "path": "site", "extract": "fast", "max_page_bytes": 100_000}
    docs = read(settings_)
    assert [doc.origin.file for doc in docs] == [str(path) for path in sorted(path.relative_to(folder) for path in (folder / "site").rglob("*.*htm*"))]
    reasons = {doc.origin.file[7:]: doc.rejection.reason for doc in docs if doc.rejection}
    assert reasons == {"empty.html": "empty_file", "large.html": "too_large"}
    for doc in docs:
        if not doc.rejection:
            number = int(doc.meta["title"].split()[1])
            assert all(text in doc.text for text in paragraphs(number, "zh" if number % 3 == 0 else "en"))
            assert (doc.origin.start, doc.origin.end) == (0, (folder / doc.origin.file).stat().st_size)
            assert doc.meta.get("encoding") == ("gb18030" if number % 3 == 0 else None)
    small_shards(monkeypatch, 5000)
    source = create("source", settings_)
    assert len(source.shards()) > 5
    assert read(settings_) == docs
    for shard in source.shards()[:3]:
        whole = list(source.read(shard))
        assert list(source.read(shard, 2)) == whole[2:]
    source.check()


def test_one_and_two_workers_agree(folder, monkeypatch):
    folder_of_pages(folder, 30)
    small_shards(monkeypatch, 5000)
    settings_ = {"type": "html", "path": "site"}
    assert run(folder / "one", settings_, workers=1) == run(folder / "two", settings_, workers=2)


def test_empty_files_alone_and_a_missing_library(folder, monkeypatch):
    (folder / "a.html").write_bytes(b"")
    with pytest.raises(DataError, match="only empty files"):
        create("source", {"type": "html", "path": "a.html"}).check()
    from yanmo.corpus.web import html

    monkeypatch.setitem(html.LIBRARIES, "quality", ("no_such_library",))
    with pytest.raises(RequestError, match=r"html: expected the library 'no_such_library', got not installed - pip install 'yanmo\[corpus\]'"):
        create("source", {"type": "html", "path": "a.html"}).check()
