"""Exact duplicates of paragraphs and lines: against a plain implementation, and what the cut leaves behind."""

from __future__ import annotations

import random
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import ODD, chinese, english, run, small_shards, write_jsonl
from yanmo.core.errors import RecipeError
from yanmo.core.registry import create
from yanmo.corpus.copies.copies import cut, merged, packed, union, unpacked
from yanmo.corpus.steps.exact_dedup import units

SOURCE = {"type": "jsonl", "path": "a.jsonl"}
LINES = {"type": "exact_dedup", "unit": "line", "min_chars": 10, "min_left": 0.2}
PARAGRAPHS = {"type": "exact_dedup", "unit": "paragraph", "min_chars": 10, "min_left": 0.2}


def made(folder, bodies, step, name="parts", workers=1):
    write_jsonl(folder / "a.jsonl", [{"text": body} if isinstance(body, str) else body for body in bodies])
    return run(folder / name, SOURCE, [step] if step else [], workers)


# ---------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize(("text", "unit", "found"), [
    ("a\nb\n\nc", "line", ["a", "b", "c"]), ("  a b \r\n\t\n\u3000\u3000段首 \n", "line", ["a b", "段首"]), ("", "line", []), (" \n \n", "line", []),
    ("a\nb\n\nc", "paragraph", ["a\nb", "c"]), ("a\n \t\r\nb", "paragraph", ["a", "b"]), ("\n\n　段一\n续\n\n\n段二\n", "paragraph", ["段一\n续", "段二"]),
    ("a\n\n", "paragraph", ["a"]), ("a\n", "paragraph", ["a"]), ("👩‍👩‍👧\ne\u0301", "paragraph", ["👩‍👩‍👧\ne\u0301"]), (" \n\n ", "paragraph", []),
])  # fmt: skip
def test_units(text, unit, found):
    places = units(text, unit)
    assert [body for _, body in places] == found
    assert all(text[start : start + len(body)] == body for start, body in places)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="ab \n\r\t　汉", max_size=60), st.sampled_from(["line", "paragraph"]))
def test_units_hold_every_letter_once(text, unit):
    assert "".join("".join(body.split()) for _, body in units(text, unit)) == "".join(text.split())


# ---------------------------------------------------------------------------------------------- cutting


@pytest.mark.parametrize(("text", "gone", "left"), [
    ("one\ntwo\nthree", "two", "one\nthree"), ("one\ntwo\nthree", "one", "two\nthree"), ("one\ntwo\nthree", "three", "one\ntwo"),
    ("one\ntwo\n", "two", "one\n"), ("one\n\ntwo\n\nthree", "two", "one\n\nthree"), ("  one\n    two\n  three", "two", "  one\n  three"),
    ("　　一段。\n　　二段。\n　　三段。", "二段。", "　　一段。\n　　三段。"), ("　　一段。二句。三句。", "一段。", "　　二句。三句。"), ("他说好，好的。走", "好的。", "他说好，走"),
    ("He said it again and left.", "it again", "He said and left."), ("Yanmo研墨v2", "研墨", "Yanmo v2"), ("研a墨", "a", "研墨"), ("a\n\n\nb\nc", "b", "a\n\n\nc"),
    ("one", "one", ""), ("\n\n one\n", "one", ""), ("x 👩‍👩‍👧 y", "y", "x 👩‍👩‍👧"),
])  # fmt: skip
def test_a_cut_leaves_what_an_editor_would(text, gone, left):
    at = text.index(gone)
    assert cut(text, [(at, at + len(gone))]) == left


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="ab1汉字 \n\t　。é👩", max_size=50), st.lists(st.integers(0, 50), max_size=8))
def test_a_cut_keeps_the_rest_in_order_and_joins_no_words(text, borders):
    borders = sorted({min(border, len(text)) for border in borders})
    spans = [(a, b) for a, b in zip(borders[::2], borders[1::2]) if a < b]
    inside = {i for a, b in spans for i in range(a, b)}
    left = cut(text, spans)
    rest = [(i, c) for i, c in enumerate(text) if i not in inside and not c.isspace()]
    assert "".join(left.split()) == "".join(c for _, c in rest)
    places = [i for i, c in enumerate(left) if not c.isspace()]
    for (i, a), (j, b), p, q in zip(rest, rest[1:], places, places[1:]):
        if j > i + 1 and q == p + 1:
            assert not (a in "ab1é" and b in "ab1é"), "two words are one"


def test_spans_are_merged_whatever_their_order():
    rng = random.Random(0)
    for _ in range(50):
        spans = [(a, a + rng.randint(1, 9)) for a in rng.sample(range(60), rng.randint(1, 12))]
        covered = {i for a, b in spans for i in range(a, b)}
        found = None
        for span in spans:
            one = (packed(merged(np.array([span]))), 99, -1.0)
            found = one if found is None else union(one, found)
        spans_found = unpacked(found[0]).tolist()
        assert {i for a, b in spans_found for i in range(a, b)} == covered
        assert all(b < c for (_, b), (c, _) in pairwise(spans_found))


# ---------------------------------------------------------------------------------------------- the choice


def reference(docs, unit, min_chars, min_left):
    """(text, share left or None) of each document, by a set of what was seen."""
    def round_(chosen):
        seen, removed = set(), {}
        for index in sorted(chosen, key=lambda i: (docs[i].id, docs[i].order)):
            removed[index] = []
            for start, body in units(docs[index].text, unit):
                if len(body) >= min_chars:
                    if body in seen:
                        removed[index].append((start, start + len(body)))
                    seen.add(body)
        return removed

    def left(index, spans):
        total = sum(len(body) for _, body in units(docs[index].text, unit))
        return (total - sum(b - a for a, b in spans)) / total

    first = round_(range(len(docs)))
    lost = {i: left(i, spans) for i, spans in first.items() if spans and (left(i, spans) < min_left or left(i, spans) == 0)}
    second = round_([i for i in range(len(docs)) if i not in lost])
    return [(doc.text, lost[i]) if i in lost else (cut(doc.text, second[i]) if second[i] else doc.text, None) for i, doc in enumerate(docs)]


@pytest.mark.parametrize("step", [LINES, PARAGRAPHS], ids=["line", "paragraph"])
def test_against_a_plain_implementation_for_any_number_of_workers(step, folder, monkeypatch):
    rng = random.Random(7)
    pool = [english(rng, rng.randint(1, 12)) if i % 2 else chinese(rng, rng.randint(2, 40)) for i in range(120)] + ODD + ["短", "ok"]
    bodies = []
    for _ in range(160):
        ends = [rng.choice(["\n", "\n\n", "\n\n\n  ", "\r\n"]) for _ in range(rng.randint(1, 9))]
        bodies.append("".join(rng.choice(["", "", "\u3000\u3000", " "]) + rng.choice(pool) + end for end in ends))
    small_shards(monkeypatch)
    before = made(folder, bodies, None, "before")
    expected = reference(before, step["unit"], 10, 0.2)
    for workers in (1, 2):
        after = made(folder, bodies, step, f"parts{workers}", workers)
        assert [(doc.text, doc.rejection and doc.rejection.value) for doc in after] == [
            (body, None if share is None else round(share, 4)) for body, share in expected]  # fmt: skip
    assert sum(share is not None for _, share in expected) > 5
    assert sum(doc.text != body for doc, (body, _) in zip(before, expected)) > 20
    for doc, (body, share) in zip(before, expected):
        known = {c for c in doc.text if not c.isspace()}
        assert {c for c in body if not c.isspace()} <= known
        assert share is not None or body == doc.text or len(body) < len(doc.text)
    again = made(folder, [body for body, share in expected if share is None], step, "again")
    assert not any(doc.rejection for doc in again), "a second time finds nothing to drop"
    kept = [body for doc in after if not doc.rejection for _, body in units(doc.text, step["unit"]) if len(body) >= 10]
    assert len(kept) == len(set(kept)), "each unit stands once"
    assert {body for doc in before if doc.text not in {d.text for d in after if d.rejection}
            for _, body in units(doc.text, step["unit"]) if len(body) >= 10} <= set(kept), "and no unit of a kept document is lost"  # fmt: skip


def test_a_unit_stays_in_the_document_with_the_smallest_id_and_first_within_one(folder):
    shared = "this very line stands in both of them"
    bodies = [f"alpha is a line of its own\n{shared}\n短\n{shared}", f"{shared}\nbeta is another line\n短"]
    docs = made(folder, bodies, LINES)
    winner, other = sorted(docs, key=lambda doc: doc.id)
    assert winner.text.count(shared) == 1
    assert shared not in other.text
    assert other.text.count("短") == 1, "short lines are left alone"
    assert other.meta["cut"] == {"exact_dedup": len(bodies[docs.index(other)]) - len(other.text)}
    assert all(doc.rejection is None for doc in docs)


def test_what_only_dropped_documents_held_first_is_not_lost(folder):
    """The document with the smallest id is nearly all copies and goes; a line that it shares with another stays there."""
    lines = [f"line number {i} that others have as well" for i in range(12)]
    rng, found = random.Random(1), None
    for _ in range(300):  # the second of the two copies must have the largest id, the one in the middle the smallest but one
        extra = english(rng, 8)
        docs = made(folder, ["\n".join(lines), "\n".join([*lines[:11], extra]), extra + "\nand a long line of its own that nobody else has"], None, f"try{rng.random()}")
        if docs[0].id < docs[1].id < docs[2].id:
            found = [doc.text for doc in docs]
            break
    assert found
    docs = made(folder, found, LINES)
    assert docs[1].rejection
    assert docs[1].rejection.reason == "too_little_left"
    assert 0 < docs[1].rejection.value < 0.2
    assert docs[1].text == found[1], "a dropped document keeps its text for the record"
    assert [docs[0].text, docs[2].text] == [found[0], found[2]], "and nothing is cut in its favour"


def test_equal_documents_lose_everything_but_one(folder):
    body = "a first line of some length\na second line of some length"
    docs = made(folder, [body, body, "quite another text here"], LINES)
    assert [doc.rejection and doc.rejection.value for doc in docs] == [None, 0.0, None]
    zero = made(folder, [body, body], {**LINES, "min_left": 0}, "zero")
    assert [doc.rejection and doc.rejection.reason for doc in zero] == [None, "too_little_left"], "a text of nothing is never kept"


def test_a_field_named_cut_and_odd_letters_do_no_harm(folder):
    line = "e\u0301tude 👩‍👩‍👧 und, so weiter।"
    rows = [{"text": f"{line}\n一行自己的文字，别人没有", "cut": "theirs"}, {"text": f"{line}\nmy own line of text, nobody else's", "cut": "theirs"}]
    docs = made(folder, rows, LINES)
    assert sorted(doc.text.count(line) for doc in docs) == [0, 1]
    assert {str(doc.meta["cut"]) for doc in docs} == {"theirs", f"{{'exact_dedup': {len(line) + 1}}}"}
    assert line == unicodedata.normalize("NFD", line)


def test_settings_are_checked():
    for wrong in ({"unit": "word"}, {"min_left": 1.5}, {"min_chars": 0}):
        with pytest.raises(RecipeError):
            create("step", {"type": "exact_dedup", **wrong})
