"""Minimal pairs: reading them, what wins, and what counts as wrong."""

import json
import math
from pathlib import Path

import pytest

from yanmo.core.errors import DataError
from yanmo.core.registry import create

PAIRS = [
    {"sentence_good": "Who should Derek hug?", "sentence_bad": "Who should Derek hug who?", "linguistics_term": "argument_structure"},
    {"sentence_good": "The cats annoy Tim.", "sentence_bad": "The cats annoys Tim.", "linguistics_term": "agreement", "UID": "x"},
    {"sentence_good": "他把书放在桌上。", "sentence_bad": "他把书放桌上在。", "linguistics_term": "agreement"},
    {"sentence_good": "A 🐋 swims.", "sentence_bad": "A 🐋 swim.", "linguistics_term": "agreement"},
]


def write(rows, name="pairs.jsonl"):
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def task(folder):
    write(PAIRS)
    return create("task", {"type": "minimal_pairs", "path": "pairs.jsonl"})


def test_pairs_are_read_with_their_phenomenon(task):
    examples = task.load("test")
    assert [e.fields["text"] for e in examples] == [p["sentence_good"] for p in PAIRS]
    assert [e.fields["bad"] for e in examples] == [p["sentence_bad"] for p in PAIRS]
    assert examples[1].fields["group"] == "linguistics_term=agreement"
    assert [e.where for e in examples] == [f"pairs.jsonl:{i}" for i in range(1, 5)]


@pytest.mark.parametrize(
    ("good", "bad", "label"),
    [(-3.0, -4.0, "good"), (-4.0, -3.0, "bad"), (-3.0, -3.0, None), (math.nan, -3.0, None), (-3.0, math.nan, None),
     (-math.inf, -math.inf, None), (-3.0, -math.inf, None)],
)  # fmt: skip
def test_a_tie_and_what_is_not_finite_decide_nothing(task, good, bad, label):
    assert task.decode((good, bad), task.load("test")[0]).label == label


def test_no_decision_is_wrong(task):
    outputs = [(-1.0, -2.0), (-2.0, -1.0), (-1.0, -1.0), (math.nan, -1.0)]
    pairs = [(e, task.decode(o, e)) for e, o in zip(task.load("test"), outputs)]
    found = task.score(pairs)
    assert found["accuracy"] == 0.25
    assert found["undecided"] == 2
    assert found["by_group"] == {"linguistics_term=agreement": {"accuracy": 0.0, "n": 3},
                                 "linguistics_term=argument_structure": {"accuracy": 1.0, "n": 1}}  # fmt: skip


def test_other_names_of_the_columns(folder):
    Path("pairs.csv").write_text("a,b,uid\nThe cats annoy Tim.,The cats annoys Tim.,agreement\n", encoding="utf-8")
    task = create("task", {"type": "minimal_pairs", "path": "pairs.csv", "fields": {"good": "a", "bad": "b", "group": "uid"}})
    [example] = task.load("test")
    assert (example.fields["bad"], example.fields["group"]) == ("The cats annoys Tim.", "uid=agreement")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"sentence_good": "a"}, r"pairs.jsonl:1: field 'sentence_bad' is missing - did you mean 'sentence_good'"),
        ({"sentence_good": "a", "sentence_bad": " "}, r"field 'sentence_bad' expected some text, got an empty one"),
        ({"sentence_good": 3, "sentence_bad": "b"}, r"field 'sentence_good' expected some text, got 3"),
        ({"sentence_good": "a", "sentence_bad": "a"}, r"expected two different sentences, got 'a'"),
    ],
)
def test_pairs_that_are_none(row, message, folder):
    write([row])
    with pytest.raises(DataError, match=message):
        create("task", {"type": "minimal_pairs", "path": "pairs.jsonl"}).check()
