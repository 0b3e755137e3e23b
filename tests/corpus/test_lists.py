"""Filters by the user's lists: addresses, words; and lines of symbols."""

from __future__ import annotations

import gzip
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import ODD, run, texts, write_jsonl
from yanmo.core.data import Document, Origin, content_id
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.corpus.words import lists


def document(body: str, **meta) -> Document:
    return Document(content_id(body), body, Origin("a", None, 0, 1), "a", meta)


def write(folder, **named):
    for name, content in named.items():
        path = folder / f"{name}.txt"
        path.write_text(content if isinstance(content, str) else "\n".join(content) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------- list files


def test_comments_blank_lines_marks_and_gzip(folder):
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbf# a comment\r\none\r\n\r\n  two  # why\n\xe4\xb8\x89\n# last\none\nC#\n")
    (folder / "b.gz").write_bytes(gzip.compress(b"four\none\n"))
    assert lists.entries(lists.stamp("a.txt")) == ("one", "two", "三", "C#")
    assert lists.entries(lists.stamp(["a.txt", "b.gz"])) == ("one", "two", "三", "C#", "four")
    (folder / "many").mkdir()
    for name, entry in (("2.txt", "b"), ("1.txt", "a"), (".hidden", "h")):
        (folder / "many" / name).write_text(entry)
    assert lists.entries(lists.stamp("many")) == lists.entries(lists.stamp("many/*.txt")) == ("a", "b")
    assert [path.name for path in lists.files(["many", "a.txt", "many/1.txt"])] == ["1.txt", "2.txt", "a.txt"]
    assert lists.entries(lists.stamp(None)) == ()


def test_a_changed_list_is_read_again(folder):
    write(folder, a="one")
    assert lists.entries(lists.stamp("a.txt")) == ("one",)
    write(folder, a="one\ntwo")
    assert lists.entries(lists.stamp("a.txt")) == ("one", "two")


@pytest.mark.parametrize(("content", "message"), [
    (None, r"list\.txt: expected a file, a folder or a glob, got no such path: list\.txt"),
    (b"", r"list\.txt: expected a list with at least one entry, got none"),
    (b"# nothing\n\n  \n", r"list\.txt: expected a list with at least one entry, got none"),
    ("好\n坏".encode("gbk"), r"list\.txt: expected a list in UTF-8, one entry a line, got byte 0xba in line 1 - save it as UTF-8"),
    (b"good\nbad \xff\n", r"list\.txt: expected a list in UTF-8, one entry a line, got byte 0xff in line 2"),
    (b"PK\x03\x04\x00\x00", r"list\.txt: expected a list in UTF-8, one entry a line, got binary data"),
])  # fmt: skip
@pytest.mark.parametrize("step", [
    {"type": "url_filter", "domains": "list.txt"}, {"type": "url_filter", "words": ["list.txt"]}, {"type": "url_filter", "urls": "ok.txt", "allow": "list.txt"},
    {"type": "word_filter", "words": "list.txt"}, {"type": "word_filter", "words": {"en": "ok.txt", "zh": "list.txt"}}, {"type": "word_filter", "words": "ok.txt", "allow": "list.txt"},
], ids=["domains", "words", "allow", "listed", "language", "allowed"])  # fmt: skip
def test_lists_that_cannot_be_read_stop_the_run_before_it_begins(folder, content, message, step):
    write(folder, ok="fine")
    if content is not None:
        (folder / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        create("step", step).check()


def test_a_gzip_that_is_none(folder):
    (folder / "list.gz").write_bytes(gzip.compress(b"one\n" * 1000)[:-9])
    with pytest.raises(DataError, match=r"list\.gz: expected a whole gzip file"):
        create("step", {"type": "word_filter", "words": "list.gz"}).check()
    (folder / "list.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match=r"list\.gz: expected a whole gzip file"):
        create("step", {"type": "word_filter", "words": "list.gz"}).check()


# ---------------------------------------------------------------------------------------------- addresses


def verdict(url, **settings):
    found = create("step", {"type": "url_filter", **settings}).reject(document("x", url=url))
    return found and (found.reason, found.value)


@pytest.mark.parametrize(("url", "dropped"), [
    ("https://blocked.com/page?with=more", "blocked.com"), ("https://below.danger.org/page?with=more", "danger.org"),
    ("http://below.danger.org/page", "danger.org"), ("http://www.danger.org/page", "danger.org"), ("https://nice.com/page?with=more", None),
    ("https://bad.nice.com/page?with=more", "bad.nice.com"), ("https://further.bad.nice.com/page", "bad.nice.com"), ("https://blocke.dcom/page", None),
    ("https://notblocked.com", None), ("https://blocked.com.cn", None), ("HTTPS://WWW.BLOCKED.COM.:8080/", "blocked.com"),
    ("https://user:secret@blocked.com", "blocked.com"), ("//blocked.com/x", "blocked.com"), ("blocked.com/x", "blocked.com"), ("blocked.com", "blocked.com"),
    ("https://other.com/?to=https://blocked.com", None), ("https://other.com#blocked.com", None), ("http://[2001:db8::1]:80/", "[2001:db8::1]"),
    ("https://例子.中国/页", "xn--fsqu00a.xn--fiqs8s"), ("https://XN--FSQU00A.xn--fiqs8s", "xn--fsqu00a.xn--fiqs8s"), ("http://10.0.0.1/", "10.0.0.1"),
    ("mailto:nobody", None), ("::::", None), ("http://", None), ("http://a..b", None),
])  # fmt: skip
def test_domains_and_all_below_them(folder, url, dropped):
    write(folder, domains=["blocked.com  # spam", "*.danger.org", "bad.nice.com", "https://例子.中国/", "[2001:db8::1]", "10.0.0.1"])
    assert verdict(url, domains="domains.txt") == (dropped and ("domain", dropped))


def test_addresses(folder):
    write(folder, urls=["https://as.com/x/blocked", "http://Host.com/Path/?q=1"])
    for url in ("https://as.com/x/blocked", "http://as.com/x/blocked/", "as.com/x/blocked#part"):
        assert verdict(url, urls="urls.txt") == ("url", "as.com/x/blocked")
    assert verdict("https://host.com/Path/?q=1", urls="urls.txt") == ("url", "host.com/Path/?q=1")
    for url in ("https://as.com/x/blocked2", "https://as.com/x", "https://www.as.com/x/blocked", "https://host.com/path/?q=1"):
        assert verdict(url, urls="urls.txt") is None


def test_words_hard_and_soft(folder):
    write(folder, hard=["poker", "赌博"], soft=["free", "casino", "win", "彩票"])
    both = {"words": "hard.txt", "soft_words": "soft.txt"}
    assert verdict("https://a.com/Poker-night.html", **both) == ("word", "poker")
    assert verdict("https://poker.a.com/", **both) == ("word", "poker")
    assert verdict("https://a.com/pokerface", **both) is None
    assert verdict("https://a.com/%E7%BD%91%E4%B8%8A%E8%B5%8C%E5%8D%9A", **both) == ("word", "赌博")
    assert verdict("https://a.com/free_stuff", **both) is None
    assert verdict("https://a.com/free-free-free", **both) is None, "different ones count"
    assert verdict("https://a.com/free_casino", **both) == ("soft_words", "casino free")
    assert verdict("https://a.com/free/买彩票", **both) == ("soft_words", "free 彩票")
    assert verdict("https://a.com/free_casino", **both, soft_count=3) is None
    assert verdict("https://a.com/free", **both, soft_count=1) == ("soft_words", "free")


def test_what_is_allowed_stays_whatever_the_lists_say(folder):
    write(folder, domains=["bad.com"], words=["poker"], allow=["good.bad.com", "bad.com/poker/rules"])
    settings = {"domains": "domains.txt", "words": "words.txt", "allow": "allow.txt"}
    for url in ("https://good.bad.com/poker", "https://x.good.bad.com", "https://bad.com/poker/rules/"):
        assert verdict(url, **settings) is None
    assert verdict("https://bad.com/poker/rules/2", **settings) == ("domain", "bad.com")


def test_documents_without_an_address(folder):
    write(folder, domains=["bad.com"])
    step = {"type": "url_filter", "domains": "domains.txt"}
    rows = [{"text": "one", "url": "http://bad.com"}, {"text": "two"}, {"text": "three", "url": None}, {"text": "four", "url": 5}, {"text": "five", "link": "bad.com"}]
    write_jsonl(folder / "a.jsonl", rows)
    source = {"type": "jsonl", "path": "a.jsonl"}

    def reasons(name, **settings):
        return [doc.rejection and doc.rejection.reason for doc in run(folder / name, source, [{**step, **settings}])]

    assert reasons("plain") == ["domain", None, None, None, None]
    assert reasons("required", required=True) == ["domain", "no_url", "no_url", "no_url", "no_url"]
    assert reasons("field", field="link") == [None, None, None, None, "domain"]
    with pytest.raises(RecipeError, match="at least one of the lists"):
        create("step", "url_filter")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet=st.one_of(st.sampled_from(":/?#@[].%abc例-_ \n"), st.characters(exclude_categories=["Cs"])), max_size=40))
def test_any_address_can_be_looked_at(url):
    from yanmo.corpus.steps.url_filter import parents, parts

    host, rest = parts(url)
    assert host == host.lower()
    assert parents(host)[0] == host
    assert not rest.endswith("/")


def test_long_lists_cost_nothing_a_document(folder):
    write(folder, domains=[f"site{i}.example" for i in range(200_000)])
    step = create("step", {"type": "url_filter", "domains": "domains.txt"})
    docs = [document("x", url=f"https://www.site{i * 7}.example/p/{i}") for i in range(20_000)]
    list(step.rows(iter(docs[:1])))
    began = time.process_time()
    dropped = sum(doc.rejection is not None for doc in step.rows(iter(docs)))
    assert time.process_time() - began < 2
    assert dropped == 20_000


# ---------------------------------------------------------------------------------------------- words


def count(body, words, allow=None, folder=None, **settings):
    write(folder, words=words, **({"allow": allow} if allow else {}))
    step = create("step", {"type": "word_filter", "words": "words.txt", **({"allow": "allow.txt"} if allow else {}), **settings})
    return step.patterns()[None].count(body)


@pytest.mark.parametrize(("body", "expected"), [
    ("a class of bass", (0, None)), ("you ass", (1, "ass")), ("Ass! ASS, ass", (3, "ass")), ("ass ass ass", (3, "ass")), ("smart-ass", (1, "ass")),
    ("assé éass ass\u0301 Ass1", (0, None)), ("我ass了", (1, "ass")), ("bad   word\nbad\u00a0word bad\u3000word", (3, "bad word")), ("badword", (0, None)),
    ("操你，操场，体操", (3, "操")), ("性感的", (1, "性感")), ("дурак дураков", (1, "дурак")), ("ДУРАК", (1, "дурак")), ("éclair Éclair éclairs", (2, "éclair")),
    ("ควย", (1, "ควย")), ("くそったれ", (1, "くそ")), ("C++ and C+++", (2, "c++")), ("50% off 150% off", (1, "50% off")), ("", (0, None)), ("👩‍👩‍👧‍👦ass👩", (1, "ass")),
])  # fmt: skip
def test_words_by_themselves_and_words_anywhere(folder, body, expected):
    words = ["ass", "Bad Word", "操", "性感", "дурак", "éclair", "ควย", "くそ", "c++", "50% off"]
    assert count(body, words, folder=folder) == expected


def test_the_longest_word_of_a_place_counts_once(folder):
    assert count("dumb dumb ass", ["dumb", "dumb dumb", "dumb ass"], folder=folder) == (1, "dumb dumb")
    assert count("傻逼和傻", ["傻", "傻逼"], folder=folder) == (2, "傻逼")


def test_allowed_words_and_phrases(folder):
    words = ["鸡", "性", "sm", "ass"]
    assert count("鸡肉和烧鸡，野鸡", words, ["鸡肉", "烧鸡"], folder=folder) == (1, "鸡")
    assert count("性格 SM sm", words, ["性", "sm"], folder=folder) == (0, None)
    assert count("an ass and the Ass of the stable", words, ["ass of the stable"], folder=folder) == (1, "ass")


def reasons(folder, place, rows, **settings):
    write_jsonl(folder / "a.jsonl", [row if isinstance(row, dict) else {"text": row} for row in rows])
    docs = run(folder / place, {"type": "jsonl", "path": "a.jsonl"}, [{"type": "word_filter", "words": "words.txt", **settings}])
    return [doc.rejection and (doc.rejection.reason, doc.rejection.value) for doc in docs], docs


def test_thresholds_and_scores(folder):
    write(folder, words=["damn", "该死"])
    rows = ["all is well", "damn it all, four more", "damn damn", "这个该死的东西", "好的", "damn 该死 " + "word " * 95]
    found, docs = reasons(folder, "any", rows)
    assert found == [None, ("words", "damn"), ("words", "damn"), ("words", "该死"), None, ("words", "damn")]
    assert [doc.meta["scores"]["listed_words"] for doc in docs] == [0, round(1 / 5, 6), 1, round(1 / 7, 6), 0, round(2 / 98, 6)]
    found, _ = reasons(folder, "count", rows, max_count=1)
    assert found == [None, None, ("words", 2), None, None, ("words", 2)]
    found, docs = reasons(folder, "share", rows, max_fraction=0.15, name="toxicity")
    assert found == [None, ("word_fraction", 0.2), ("word_fraction", 1.0), None, None, None]
    assert "toxicity" in docs[0].meta["scores"]
    found, _ = reasons(folder, "both", rows, max_count=1, max_fraction=0.15)
    assert found == [None, ("word_fraction", 0.2), ("words", 2), None, None, ("words", 2)]


def test_a_list_for_each_language(folder):
    write(folder, en=["gift"], de=["gift", "kot"], zh=["坏"])
    words = {"en": "en.txt", "de": ["de.txt"], "zh": "zh.txt"}
    rows = [{"text": "a gift, kot", "language": "en"}, {"text": "kot", "language": "en"}, {"text": "kot", "language": "de-AT"}, {"text": "坏 kot", "language": "fr"},
            {"text": "kot"}, {"text": "坏"}, {"text": "坏", "language": "zh"}, {"text": "坏", "language": "de"}]  # fmt: skip
    found, _ = reasons(folder, "each", rows, words=words)
    assert found == [("words", "gift"), None, ("words", "kot"), None, ("words", "kot"), ("words", "坏"), ("words", "坏"), None]
    write(folder, allow=["kot"])
    found, _ = reasons(folder, "allowed", rows, words=words, allow={"de": "allow.txt"})
    assert [f and f[1] for f in found] == ["gift", None, None, None, None, "坏", "坏", None]
    step = create("step", {"type": "word_filter", "words": words, "allow": {"de": "allow.txt"}})
    assert [path.name for path in step.files()] == ["en.txt", "de.txt", "zh.txt", "allow.txt"]
    with pytest.raises(RecipeError, match="allow lists for languages that have words"):
        create("step", {"type": "word_filter", "words": {"en": "en.txt"}, "allow": {"de": "allow.txt"}})
    for nothing in ("", [], {}, {"en": ""}):
        with pytest.raises(RecipeError, match="a list of words"):
            create("step", {"type": "word_filter", "words": nothing})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["bad", "worse", "fine", "badly", "坏", "好", "坏人", "é", ".", " ", "-", "\n", "Bad", "_x"]), max_size=20).map("".join))
def test_counts_are_those_of_a_plain_expression(tmp_path_factory, text):
    """Against Python's `re`, which knows Unicode's borders but is far too slow for long lists."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "words.txt").write_text("bad\nworse\n坏\n坏人\n", encoding="utf-8")
    step = create("step", {"type": "word_filter", "words": str(folder / "words.txt")})
    letter = r"[^\W_\u4e00-\u9fff]"
    expected = re.findall(rf"(?i)坏人|坏|(?<![^\W\u4e00-\u9fff])(?:worse|bad)(?![^\W\u4e00-\u9fff])|(?!){letter}", text)
    assert step.patterns()[None].count(text)[0] == len(expected)


def test_thousands_of_words_in_one_linear_pass(folder):
    rng = random.Random(1)
    words = {"".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(5, 12))) for _ in range(5000)}
    words |= {"".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(3)) for _ in range(5000)}
    write(folder, words=sorted(words))
    step = create("step", {"type": "word_filter", "words": "words.txt"})
    found = step.patterns()[None]
    bodies = texts(400, seed=3)
    planted = [body + " " + word for body, word in zip(bodies, sorted(words))]
    assert all(found.count(body)[0] >= 1 for body in planted)
    began = time.process_time()
    for body in bodies * 5:
        found.count(body)
    assert time.process_time() - began < 2
    hostile = "a" * 500_000
    began = time.process_time()
    assert found.count(hostile) == (0, None)
    assert time.process_time() - began < 2


# ---------------------------------------------------------------------------------------------- lines of symbols


@pytest.mark.parametrize(("before", "after"), [
    ("a\n-----\nb", "a\nb"), ("hello ehehe -", "hello ehehe -"), ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n| 1 | 2 |"), ("Title\n=====\n\ntext", "Title\n\ntext"),
    ("# heading\n#\n##", "# heading"), ("* * *\r\nb", "b"), ("標題\n＝＝＝\n————\n═══\n正文", "標題\n正文"), ("a\n\n\nb", "a\n\n\nb"), ("  \n\t\nb", "  \n\t\nb"),
    ("a\n-----", "a"), ("-----\na\n", "a\n"), ("---", ""), ("...\n!!!\n???", "...\n!!!\n???"), ("👩‍👩‍👧‍👦\n~~~", "👩‍👩‍👧‍👦"), ("－\u3000｜", ""), ("a - b\n- c", "a - b\n- c"), ("", ""),
])  # fmt: skip
def test_symbol_lines(before, after):
    edit = create("step", "symbol_lines").edit
    assert edit(before) == after
    assert edit(after) == after


def test_symbols_can_be_chosen():
    edit = create("step", {"type": "symbol_lines", "symbols": ".^]"}).edit
    assert edit("...\n---\n^]\na.") == "---\na."
    with pytest.raises(RecipeError, match="symbols"):
        create("step", {"type": "symbol_lines", "symbols": ""})


def test_symbol_lines_leave_a_document_without_text(folder):
    write_jsonl(folder / "a.jsonl", [{"text": "---\n***"}, {"text": "a\n---"}, *({"text": text} for text in ODD)])
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["symbol_lines"])
    assert [doc.rejection and doc.rejection.reason for doc in docs] == ["empty", None, None, None, None, None]
    assert [doc.text for doc in docs] == ["---\n***", "a", *ODD]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="-|*_=#~ \t\n\rab好"))
def test_every_line_with_a_letter_stays(text):
    after = create("step", "symbol_lines").edit(text)
    assert [line for line in text.split("\n") if line.strip("-|*_=#~ \t\r")] == [line for line in after.split("\n") if line.strip("-|*_=#~ \t\r")]
    assert not any(line.strip() and not line.strip("-|*_=#~ \t\r") for line in after.split("\n"))
