"""Steps: one suite over the registry, then what each is for."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import chinese, english, run, small_shards, texts, write_jsonl
from tests.corpus.crawl import page, paragraphs
from yanmo.core.data import Document, Origin, content_id
from yanmo.core.errors import RecipeError
from yanmo.core.registry import create, names
from yanmo.corpus.step import Edit

SETTINGS = {"length": {"min_chars": 40, "max_chars": 200}, "sample": {"fraction": 0.5}, "convert_chinese": {"to": "traditional"}, "url_filter": {"domains": "domains.txt"},
            "word_filter": {"words": "words.txt"}, "quality": {"good": "good.jsonl", "bad": "bad.jsonl"},
            "substring_dedup": {"min_length": 20}, "decontaminate": {"against": "items.jsonl"}}  # fmt: skip
CUTS = {"substring_dedup"}  # change texts, and are no edits of one text alone


@pytest.fixture(params=names("step"))
def step(request):
    return {"type": request.param, **SETTINGS.get(request.param, {})}


@pytest.fixture
def source(folder, monkeypatch):
    """Documents with duplicates, near-duplicates, untidy ones and quarantined lines, in many partitions."""
    rng, bodies = random.Random(3), texts(120, seed=3)
    bodies += rng.choices(bodies, k=30)
    bodies += [body + " 尾 tail" for body in rng.choices([b for b in bodies if len(b) > 150], k=20)]
    bodies += [page(f"Page {i}", paragraphs(i)).decode() for i in range(3)]
    bodies += ["Write to jane.roe@example.com, 或拨打13912345678。"]
    bodies += ["  a\r\nb\x00\ufeff  \n\n\n\nc\u00a0d  ", "\x07\x07", "ｅ\u0301", "a\n-----\nb &gt; c"]
    rng.shuffle(bodies)
    rows = [{"text": body, "n": i, "url": f"https://www.site{i % 9}.example/{i}"} for i, body in enumerate(bodies)]
    rows[20:20] = ["{broken", {"text": None}, b'{"text": "\xff"}']
    write_jsonl(folder / "a.jsonl", rows)
    write_lists(folder)
    small_shards(monkeypatch)
    return {"type": "jsonl", "path": "a.jsonl"}


def write_lists(folder):
    """What the steps read that need lists or examples."""
    rng = random.Random(4)
    (folder / "domains.txt").write_text("site3.example\n", encoding="utf-8")
    (folder / "words.txt").write_text("fox\n曹操\n", encoding="utf-8")
    write_jsonl(folder / "good.jsonl", [{"text": english(rng, 30)} for _ in range(20)])
    write_jsonl(folder / "bad.jsonl", [{"text": chinese(rng, 60)} for _ in range(20)])
    write_jsonl(folder / "items.jsonl", [{"text": body} for body in texts(120, seed=3)[:12]])


def by_place(docs):
    return {doc.origin: doc for doc in docs}


# ---------------------------------------------------------------------------------------------- over the registry


def test_no_document_is_added_lost_or_moved_and_ids_and_origins_stay(step, source, folder):
    before = run(folder / "before", source)
    after = run(folder / "after", source, [step])
    assert [(doc.id, doc.origin, doc.source, doc.order) for doc in after] == [(doc.id, doc.origin, doc.source, doc.order) for doc in before]
    for old, new in zip(before, after):
        if old.rejection:
            assert new == old, "a quarantined row is nobody's business"
        elif step["type"] not in CUTS and not isinstance(create("step", step), Edit):
            assert new.text == old.text
        if new.rejection and not old.rejection:
            assert new.rejection.step == step["type"]
            assert new.rejection.reason.isidentifier()
    changed = [old for old, new in zip(before, after) if old.text != new.text or old.rejection != new.rejection]
    assert changed, "the data gives every step something to do"


def test_doing_it_twice_changes_nothing(step, source, folder):
    once, twice = run(folder / "once", source, [step]), run(folder / "twice", source, [step, step])
    assert once == twice


def test_what_is_already_dropped_is_skipped(step, source, folder):
    first = run(folder / "first", source, [{"type": "length", "min_chars": 100_000}])
    assert all(doc.rejection for doc in first)
    assert run(folder / "second", source, [{"type": "length", "min_chars": 100_000}, step]) == first


def test_the_same_with_small_and_large_partitions(step, source, folder, monkeypatch):
    small = run(folder / "small", source, [step])
    small_shards(monkeypatch, 1 << 20)
    large = run(folder / "large", source, [step])
    assert [(d.id, d.text, d.meta, d.rejection) for d in small] == [(d.id, d.text, d.meta, d.rejection) for d in large]


def test_the_choice_does_not_depend_on_the_order_of_the_rows(step, source, folder):
    def kept(path):
        docs = run(folder / path.replace(".", "-"), {"type": "jsonl", "path": path}, [step])
        return sorted((doc.id, doc.text) for doc in docs if not doc.rejection)

    lines = (folder / "a.jsonl").read_bytes().splitlines()
    write_jsonl(folder / "b.jsonl", reversed(lines))
    assert kept("a.jsonl") == kept("b.jsonl")


def test_unknown_settings_are_refused(step):
    with pytest.raises(RecipeError, match="unknown key 'min_char'"):
        create("step", {**step, "min_char": 1})


# ---------------------------------------------------------------------------------------------- normalize

normalize = create("step", "normalize").edit


@pytest.mark.parametrize(("before", "after"), [
    ("a\r\nb\rc\u2028d\u0085e", "a\nb\nc\nd\ne"), ("e\u0301", "é"), ("ｅ\u0301", "ｅ\u0301"), ("a\x00b\x07\ufeff", "ab"),
    ("a  \t\n b", "a\n b"), ("a\n\n\n\n\nb", "a\n\nb"), ("\n\n a\n\n", " a"), ("a\u00a0b\u2009c", "a b c"),
    ("你好，世界！（全角）「引号」……——《书》。", "你好，世界！（全角）「引号」……——《书》。"), ("\u3000\u3000段首，", "\u3000\u3000段首，"),
    ("１２ＡＢ％", "１２ＡＢ％"), ("👩‍👩‍👧‍👦🏳️‍🌈", "👩‍👩‍👧‍👦🏳️‍🌈"), ("نمی‌خواهم", "نمی‌خواهم"), ("ភាសា\u200bខ្មែរ", "ភាសា\u200bខ្មែរ"), ("½ ² ﬁ ㎏", "½ ² ﬁ ㎏"),
])  # fmt: skip
def test_normalize(before, after):
    assert normalize(before) == after


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\n\r \t\u0301\u00a0\u3000，。👩\u200d\x85"))))
def test_normalize_is_idempotent_and_keeps_every_letter(text):
    once = normalize(text)
    assert normalize(once) == once

    def letters(t):
        return [c for c in unicodedata.normalize("NFC", t) if unicodedata.category(c)[0] in "LNPS"]

    stripped = "".join(c for c in text if unicodedata.category(c) != "Cc" or c in "\n\t")
    assert len(letters(once)) <= len(letters(text)) + 1  # a removed control may let two characters compose
    if stripped == text and not set(text) & set("\u00ad\ufeff\ufffe\uffff"):
        assert letters(once) == letters(text)


def test_text_left_blank_is_dropped_as_empty_with_the_text_that_was(folder):
    write_jsonl(folder / "a.jsonl", [{"text": "\x07\x07"}, {"text": "fine"}])
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["normalize"])
    assert [(doc.text, doc.rejection and doc.rejection.reason) for doc in docs] == [("\x07\x07", "empty"), ("fine", None)]


# ---------------------------------------------------------------------------------------------- length, sample


def document(body: str) -> Document:
    return Document(content_id(body), body, Origin("a", None, 0, 1))


def test_length_counts_characters_not_bytes():
    step = create("step", {"type": "length", "min_chars": 3, "max_chars": 5})
    reasons = [(r.reason, r.value) if (r := step.reject(document(body))) else None for body in ("研墨", "研墨写", "研墨写大字", "研墨写大字了", "👩👩")]
    assert reasons == [("too_short", 2), None, None, ("too_long", 6), ("too_short", 2)]
    with pytest.raises(RecipeError, match=r"max_chars of at least min_chars \(5\)"):
        create("step", {"type": "length", "min_chars": 5, "max_chars": 4})
    with pytest.raises(RecipeError, match="min_chars: expected a number of at least 0"):
        create("step", {"type": "length", "min_chars": -1})


def test_sample_keeps_the_fraction_and_a_larger_one_contains_it():
    docs = [document(body) for body in texts(4000, seed=9)]
    kept = {f: {d.id for d in docs if not create("step", {"type": "sample", "fraction": f}).reject(d)} for f in (0.1, 0.5, 1.0)}
    assert 320 < len(kept[0.1]) < 480
    assert 1880 < len(kept[0.5]) < 2120
    assert kept[0.1] < kept[0.5] < kept[1.0]
    assert len(kept[1.0]) == 4000
    other = {d.id for d in docs if not create("step", {"type": "sample", "fraction": 0.5, "seed": 1}).reject(d)}
    assert 880 < len(other & kept[0.5]) < 1120
    for fraction in (0, 1.5, -1):
        with pytest.raises(RecipeError, match="fraction: expected a number"):
            create("step", {"type": "sample", "fraction": fraction})


# ---------------------------------------------------------------------------------------------- exact duplicates


def test_exact_duplicates_after_the_edits_before(folder):
    rows = ["one text", "二", "one text", "one text\r\n", "one text ", "二", "other"]
    write_jsonl(folder / "a.jsonl", [{"text": row} for row in rows])
    docs = run(folder / "plain", {"type": "jsonl", "path": "a.jsonl"}, ["exact_dedup"])
    assert [doc.rejection and doc.rejection.value for doc in docs] == [None, None, docs[0].id, None, None, docs[1].id, None]
    docs = run(folder / "edited", {"type": "jsonl", "path": "a.jsonl"}, ["normalize", "exact_dedup"])
    same = [docs[i] for i in (0, 2, 3, 4)]
    winner = min(same, key=lambda doc: (doc.id, doc.order))
    assert [doc for doc in same if not doc.rejection] == [winner]
    assert {doc.rejection.value for doc in same if doc.rejection} == {winner.id}


def test_exact_duplicates_against_a_plain_set(folder, monkeypatch):
    rng = random.Random(5)
    bodies = rng.choices([english(rng, 6) if i % 2 else chinese(rng, 9) for i in range(150)], k=600)
    write_jsonl(folder / "a.jsonl", [{"text": body} for body in bodies])
    small_shards(monkeypatch)
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["exact_dedup"])
    seen: set[str] = set()
    for doc in docs:  # equal when read: equal ids, so the first one stays
        assert bool(doc.rejection) == (doc.text in seen)
        seen.add(doc.text)
    assert by_place(docs)[docs[0].origin] == docs[0]
