"""Passages that stand twice: every planted one found, none below the length touched, the same as a plain search finds."""

from __future__ import annotations

import random
import unicodedata
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import ENGLISH, ODD, run, small_shards, write_jsonl
from yanmo.core.console import Console
from yanmo.core.registry import create
from yanmo.corpus.copies.copies import cut
from yanmo.corpus.step import apply
from yanmo.corpus.words import winnowing
from yanmo.corpus.words.winnowing import blocks, lowest, marks, passages, tokens

SOURCE = {"type": "jsonl", "path": "a.jsonl"}
HAN = "".join(chr(0x4E00 + 37 * i) for i in range(500))


def made(folder, bodies, step, name="parts", workers=1):
    write_jsonl(folder / "a.jsonl", [{"text": body} for body in bodies])
    return run(folder / name, SOURCE, [step] if step else [], workers)


def step(length, min_left=0.0):
    return {"type": "substring_dedup", "min_length": length, "min_left": min_left}


# ---------------------------------------------------------------------------------------------- tokens


def bare(text):
    found = tokens(text)
    return [text[a:b] for a, b in zip(found.starts.tolist(), found.ends.tolist())]


@pytest.mark.parametrize(("text", "found"), [
    ("The  quick, (brown) fox.", ["The", "quick,", "(brown)", "fox."]), ("don't http://a.b/c?d=1 x", ["don't", "http://a.b/c?d=1", "x"]),
    ("研墨，写字。“好”", ["研", "墨，", "写", "字。", "“好”"]), ("Yanmo研墨 v2版", ["Yanmo", "研", "墨", "v2", "版"]), ("  \n\t", []), ("", []),
    ("e\u0301tude nai\u0308ve", ["e\u0301tude", "nai\u0308ve"]), ("👩‍👩‍👧‍👦 🏳️‍🌈x", ["👩‍👩‍👧‍👦", "🏳️‍🌈x"]), ("สวัสดี", ["ส", "วั", "ส", "ดี"]), ("ភ្នំ", ["ភ្នំ"]),
    ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]), ("漢\u0301字", ["漢\u0301", "字"]), ("《书》（一）", ["《书》", "（一）"]), ("\u3000段首", ["段", "首"]), ("한국어 문장", ["한국어", "문장"]),
])  # fmt: skip
def test_a_token_is_what_stands_between_blanks_or_an_unspaced_character(text, found):
    assert bare(text) == found


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("a b\n汉字，e\u0301👩\u200d👧สดี(“”")), max_size=60))
def test_tokens_hold_the_text_and_never_begin_inside_a_letter(text):
    found = tokens(text)
    held = "".join(text[a:b] for a, b in zip(found.starts.tolist(), found.ends.tolist()))
    assert "".join(text.split()).endswith("".join(held.split())), "but for marks in front of any letter"
    for start, end, following in zip(found.starts.tolist(), found.ends.tolist(), [*found.starts.tolist()[1:], len(text)]):
        assert start < end <= following
        assert text[end:following].strip() == ""
        assert not text[start].isspace()
        assert unicodedata.category(text[start])[0] != "M"
        assert text[start] != "\u200d"


def test_slices_of_a_long_text_give_the_same_tokens(monkeypatch):
    rng = random.Random(2)
    text = " ".join(rng.choice([*ENGLISH, *ODD, "研墨写字，", "x" * 90]) for _ in range(400))
    whole = tokens(text)
    monkeypatch.setattr(winnowing, "SLICE", 37)
    for one, other in zip(whole, tokens(text)):
        assert np.array_equal(one, other)
    assert tokens(" " * 200 + "a").starts.tolist() == [200]


def test_hashes_tell_blanks_apart_only_inside_a_passage():
    a, b, c = tokens("one two three four "), tokens("one two three four\n"), tokens("one two\nthree four ")
    assert np.array_equal(passages(a, 4), passages(b, 4))
    assert not np.array_equal(passages(a, 4), passages(c, 4))
    assert len({hashed for text in ("ab", "ba", "aab", "aba", "a" * 70, "a" * 71, "A", "a") for hashed in tokens(text).bare.tolist()}) == 8


# ---------------------------------------------------------------------------------------------- winnowing


def test_lowest_and_blocks_against_loops():
    rng = np.random.default_rng(0)
    for n in (1, 5, 40):
        for width in (1, 2, 3, 7, 8, 13):
            values = rng.integers(0, 6, n).astype(np.uint64)
            expected = [max(range(i, i + width), key=lambda j, v=values: (-int(v[j]), j)) for i in range(n - width + 1)]
            assert lowest(values, width).tolist() == expected
            runs = [tuple(values[i : i + width].tolist()) for i in range(n - width + 1)]
            hashes = blocks(values, width, 5).tolist()
            assert len(hashes) == len(runs)
            assert len(set(zip(runs, hashes))) == len(set(runs)) == len(set(hashes))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(8, 30), st.lists(st.sampled_from("abc"), max_size=60), st.lists(st.sampled_from("abc"), max_size=60), st.data())
def test_equal_passages_have_a_mark_at_the_same_place(length, before, behind, data):
    passage = data.draw(st.lists(st.sampled_from("abcd"), min_size=length, max_size=length))
    one, hashes = marks(tokens(" ".join([*before, *passage, *behind])), length)
    other, others = marks(tokens(" ".join([*behind, *passage, "z"])), length)
    a, b = one[len(before)] - len(before), other[len(behind)] - len(behind)
    assert a == b
    assert hashes[a + len(before)] == others[b + len(behind)]


# ---------------------------------------------------------------------------------------------- the whole


def reference(docs, length, min_left):
    """(text, share left or None) of each document, by a dictionary of every passage as text."""
    split = {}
    for index, doc in enumerate(docs):
        found = tokens(doc.text)
        starts, ends = found.starts.tolist(), found.ends.tolist()
        full = [doc.text[a:b] for a, b in zip(starts, [*starts[1:], len(doc.text)])]
        keys = [(*full[i : i + length - 1], doc.text[starts[i + length - 1] : ends[i + length - 1]]) for i in range(len(starts) - length + 1)]
        split[index] = starts, ends, keys

    def round_(chosen):
        places = defaultdict(list)
        for index in chosen:
            for start, key in enumerate(split[index][2]):
                places[key].append((docs[index].id, docs[index].order, start, index))
        gone = defaultdict(set)
        for found in places.values():
            first = min(found)
            for _, order, start, index in found:
                if order != first[1] or start >= first[2] + length:
                    gone[index] |= set(range(start, start + length))
        return gone

    def shorter(index, gone):
        starts, ends, _ = split[index]
        spans = [(starts[t], ends[t]) for t in sorted(gone)]
        joined = []
        for number, (a, b) in zip(sorted(gone), spans):
            if joined and joined[-1][0] == number - 1:
                joined[-1] = (number, joined[-1][1], b)
            else:
                joined.append((number, a, b))
        return cut(docs[index].text, [(a, b) for _, a, b in joined])

    first = round_(split)
    left = {i: 1 - len(gone) / len(split[i][0]) for i, gone in first.items()}
    lost = {i: share for i, share in left.items() if share < min_left - 1e-12 or share <= 1e-12}
    second = round_([i for i in split if i not in lost])
    return [(doc.text, lost[i]) if i in lost else (shorter(i, second[i]) if second.get(i) else doc.text, None) for i, doc in enumerate(docs)]


@pytest.mark.parametrize("script", ["en", "zh"])
def test_against_a_plain_search_for_any_number_of_workers(script, folder, monkeypatch):
    rng = random.Random(11)

    def phrase(count):
        if script == "zh":
            return "".join(rng.choice(HAN[:60]) + rng.choice(["", "", "", "，", "。", "\n"]) for _ in range(count))
        return "".join(rng.choice(ENGLISH) + rng.choice([" ", " ", ", ", ".\n", "\n\n"]) for _ in range(count))

    pool = [phrase(rng.randint(6, 40)) for _ in range(25)]
    bodies = ["".join(rng.choice(pool) if rng.random() < 0.4 else phrase(rng.randint(3, 60)) for _ in range(rng.randint(1, 6))) for _ in range(90)]
    bodies += ["la " * 100, ("一二三" * 40), *ODD, "short one"]
    small_shards(monkeypatch)
    before = made(folder, bodies, None, "before")
    expected = reference(before, 10, 0.25)
    for workers in (1, 2):
        after = made(folder, bodies, step(10, 0.25), f"parts{workers}", workers)
        assert [(doc.text, doc.rejection and doc.rejection.value) for doc in after] == [
            (body, None if share is None else pytest.approx(share, abs=1e-4)) for body, share in expected]  # fmt: skip
    assert sum(doc.text != body for doc, (body, _) in zip(before, expected)) > 30
    assert sum(share is not None for _, share in expected) > 3


def text_of(rng, script, count):
    """Tokens that hardly ever repeat, with separators."""
    if script == "zh":
        return "".join(rng.choice(HAN) + rng.choice(["", "", "", "，", "。"]) for _ in range(count))
    return " ".join(rng.choice(ENGLISH) + str(rng.randrange(10_000)) + rng.choice(["", "", ",", "."]) for _ in range(count))


def join(script, parts):
    return ("。\n" if script == "zh" else "\n").join(parts)


@pytest.mark.parametrize("script", ["en", "zh"])
@pytest.mark.parametrize("length", [8, 25, 50])
def test_every_planted_passage_is_found_and_none_below_is_touched(script, length, folder, monkeypatch):
    rng = random.Random(length)
    planted = [text_of(rng, script, length + extra) for extra in (0, 0, 1, 7, 60)]
    shorter = [text_of(rng, script, length - 1 - less) for less in (0, 0, 1, 3)]
    if script == "zh":  # a passage ends with its own punctuation, not with that of what follows
        planted, shorter = [p.rstrip("，。") for p in planted], [p.rstrip("，。") for p in shorter]
    bodies = []
    for number in range(40):
        parts = [text_of(rng, script, rng.randint(20, 80))]
        for passage in (planted[number % 5], shorter[number % 4]):
            parts += [passage, text_of(rng, script, rng.randint(20, 80))]
        bodies.append(join(script, parts))
    inside = text_of(rng, script, length + 5).rstrip("，。")
    bodies.append(join(script, [text_of(rng, script, 40), inside, text_of(rng, script, 40), inside, text_of(rng, script, 40), inside]))
    small_shards(monkeypatch, 4000)
    before, after = made(folder, bodies, None, "before"), made(folder, bodies, step(length))
    assert not any(doc.rejection for doc in after)
    for passage in [*planted, inside]:
        holders = [doc for doc in after if passage in doc.text]
        assert len(holders) == 1, "a planted passage stays once"
        assert holders[0].text.count(passage) == 1
    for passage in planted:
        first = min((doc for doc in before if passage in doc.text), key=lambda doc: doc.id)
        assert passage in next(doc.text for doc in after if doc.id == first.id), "where its id is smallest"
    for passage in shorter:
        assert sum(passage in doc.text for doc in after) == 10, "below the length nothing is touched"
    for old, new in zip(before, after):
        if old.text != new.text:
            kept = "".join(new.text.split())
            assert len(kept) >= len("".join(old.text.split())) - max(len("".join(p.split())) for p in [*planted, 2 * inside]) - 4, "nothing else is cut"


def test_words_letters_and_emoji_stay_whole(folder):
    passage = " ".join(f"e\u0301tude{i} 👩‍👩‍👧 नमस्ते{i}" for i in range(4))
    docs = made(folder, [f"prefixed{passage}suffix and a tail of words one two three", f"other {passage} end of the matter, four five six seven"], step(8))
    texts = [doc.text for doc in docs]
    changed = [i for i, doc in enumerate(docs) if "cut" in doc.meta]
    assert len(changed) == 1
    left = texts[changed[0]]
    assert unicodedata.category(left[0])[0] != "M"
    assert "prefixed" in texts[0]
    assert "suffix and a tail" in texts[0]
    assert left in ("prefixede\u0301tude0 नमस्ते3suffix and a tail of words one two three", "other e\u0301tude0 नमस्ते3 end of the matter, four five six seven")


def test_repetition_within_one_place_keeps_one_passage(folder):
    docs = made(folder, ["row of a table " * 60 + "and the end of it", "别的文字在这里，没有重复。"], step(10))
    assert docs[0].rejection is None
    assert 10 <= len(tokens(docs[0].text).starts) <= 22
    assert docs[0].text.startswith("row of a table row of a table")
    assert docs[0].text.endswith("and the end of it")
    assert docs[0].meta["cut"]["substring_dedup"] > 700
    assert made(folder, [docs[0].text], step(10), "again")[0].text == docs[0].text


def test_documents_below_the_length_and_rejected_ones_take_no_part(folder):
    body = " ".join(f"word{i}" for i in range(30))
    write_jsonl(folder / "a.jsonl", [{"text": body}, {"text": body + " more of it here"}, {"text": "a b c"}, {"text": "a b c"}])
    docs = run(folder / "parts", SOURCE, [{"type": "length", "min_chars": 5, "max_chars": len(body)}, step(20)])
    assert [doc.rejection and doc.rejection.reason for doc in docs] == [None, "too_long", None, None]
    assert docs[0].text == body
    equal = made(folder, [body, body], step(20), "equal")
    assert [doc.rejection and (doc.rejection.reason, doc.rejection.value) for doc in equal] == [None, ("too_little_left", 0.0)]


@pytest.mark.slow
@pytest.mark.spark
def test_lines_passages_and_items_are_cut_alike_on_spark(folder, monkeypatch):
    rng = random.Random(5)
    shared = [text_of(rng, script, 30) for script in ("en", "zh") for _ in range(4)]
    bodies = []
    for number in range(60):
        script = "en" if number % 2 else "zh"
        running = f"{text_of(rng, script, 25)} {rng.choice(shared)} {text_of(rng, script, 25)}"
        parts = [running, rng.choice(["a line that comes often enough", "常常出现的一行文字，它有足够的长度，可以去重"])]
        bodies.append("\n".join(rng.sample(parts, 2)) if number % 7 else f"{shared[number % 3]}\n短")
    write_jsonl(folder / "a.jsonl", [{"text": body} for body in bodies])
    write_jsonl(folder / "items.jsonl", [{"text": text_of(random.Random(5), "en", 30)}])
    steps = [{"type": "exact_dedup", "unit": "line"}, {"type": "exact_dedup", "unit": "paragraph"}, step(20, 0.3), {"type": "decontaminate", "against": "items.jsonl", "action": "cut"}]
    small_shards(monkeypatch, 4000)
    found = []
    for engine in ({"type": "local", "workers": 1}, {"type": "spark", "master": "local[2]"}):
        with create("engine", engine).session(folder / engine["type"], Console(quiet=True)) as session:
            found.append(list(apply([create("step", one) for one in steps], session.read([create("source", SOURCE)])).collect()))
    local, spark = found
    assert local == spark
    assert sum("substring_dedup" in doc.meta.get("cut", {}) for doc in local) > 5
    assert sum("exact_dedup" in doc.meta.get("cut", {}) for doc in local) > 5
    assert {doc.rejection.reason for doc in local if doc.rejection} == {"contaminated", "too_little_left"}
