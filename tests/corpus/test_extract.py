"""The step for HTML that came in another format."""

from __future__ import annotations

import pytest

from tests.corpus.corpora import ODD, chinese, run, small_shards, write_jsonl
from tests.corpus.crawl import page, paragraphs
from yanmo.core.errors import RecipeError
from yanmo.core.registry import create


@pytest.mark.parametrize("tier", ["quality", "fast", "none"])
@pytest.mark.parametrize("workers", [1, 2])
def test_html_in_json_lines(folder, monkeypatch, tier, workers):
    bodies = [page(f"P{i}", paragraphs(i, ("en", "zh")[i % 2]), ("en", "zh")[i % 2], "gb2312", "utf-8").decode() for i in range(40)]
    bodies[10:10] = ["no markup: 1 < 2 and 3 > 2", "<html><body></body></html>", *ODD]
    write_jsonl(folder / "a.jsonl", [{"text": body, "n": i} for i, body in enumerate(bodies)] + ["{broken"])
    small_shards(monkeypatch, 8000)
    source = {"type": "jsonl", "path": "a.jsonl"}
    before = run(folder / "before", source)
    docs = run(folder / "after", source, [{"type": "extract", "tier": tier}], workers)
    assert [(doc.id, doc.origin, doc.order) for doc in docs] == [(doc.id, doc.origin, doc.order) for doc in before]
    reasons = {i: (doc.rejection.step, doc.rejection.reason) for i, doc in enumerate(docs) if doc.rejection}
    assert reasons == {11: ("extract", "no_text"), 46: ("quarantine", "bad_json")}
    assert docs[11].text == bodies[11], "what was there stays with the record of what was dropped"
    for i, doc in enumerate(docs):
        if i in (10, 12, 13, 14, 15):
            assert doc == before[i], "no HTML, so it stays as it is"
        elif i not in reasons:
            number = int(doc.meta["title"][1:])
            assert all(text in doc.text for text in paragraphs(number, ("en", "zh")[number % 2]))
            assert doc.meta["n"] == i
            assert "<p>" not in doc.text


def test_raw_pages_of_an_archive_extracted_later_are_the_same(folder):
    from tests.corpus.crawl import crawl, write

    write(folder / "a.warc.gz", crawl(10))
    source = {"type": "warc", "path": "a.warc.gz"}
    at_once = run(folder / "once", {**source, "extract": "quality"})
    later = run(folder / "later", {**source, "extract": "raw"}, ["extract"])
    assert [(doc.text, doc.meta, doc.origin) for doc in later] == [(doc.text, doc.meta, doc.origin) for doc in at_once]


def test_settings():
    for wrong in ({"tier": "best"}, {"timeout": 0}, {"memory_mb": 10}, {"max_page_bytes": 0}):
        with pytest.raises(RecipeError):
            create("step", {"type": "extract", **wrong})
    assert create("step", "extract").tier == "quality"


def test_what_looks_like_a_comparison_is_no_markup(folder):
    body = "a<b and c>d, 5 <6, <3 " + chinese(__import__("random").Random(1), 50)
    write_jsonl(folder / "a.jsonl", [{"text": body}])
    (doc,) = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["extract"])
    assert doc.text == body
