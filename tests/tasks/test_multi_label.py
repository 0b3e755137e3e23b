"""Texts with any number of labels: what is read, decided and scored; and pairs of texts as rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support

from tests.inference.tiny import tokenizer
from yanmo.core.data import Example, Prediction
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.tasks.classify import pair_tokens, row_tokens
from yanmo.tasks.multi_label import MultiLabel, decide, table
from yanmo.text.metrics import several
from yanmo.text.wordpiece import WordPieceTokenizer

ROWS = [
    {"text": "the soup was cold and the waiter rude 😀", "labels": ["service", "food"]}, {"text": "我们周一去的", "labels": []},
    {"text": "汤凉了", "labels": ["food"]}, {"text": "cafe\u0301 打开 late", "labels": ["service"]}, {"text": "tip", "labels": [1, "food"]},
]  # fmt: skip


def write(rows, name="d.jsonl") -> None:
    Path(name).write_text("".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in rows), "utf-8")


def test_rows_have_any_number_of_labels(folder):
    write(ROWS)
    task = create("task", {"type": "multi_label", "path": "d.jsonl", "validation": 0, "test": 0})
    train = task.load("train")
    assert [e.fields["labels"] for e in train] == [("food", "service"), (), ("food",), ("service",), ("1", "food")]
    assert task.names() == ["1", "food", "service"]
    assert [task.encode(e, tokenizer(), 99)[0].label for e in train] == [
        [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]  # fmt: skip
    Path("d.csv").write_text("text,labels\n" + "".join(f'"{r["text"]}",{"|".join(map(str, r["labels"]))}\n' for r in ROWS), "utf-8")
    table_ = MultiLabel(path="d.csv", validation=0, test=0)
    assert [e.fields for e in table_.load("train")] == [e.fields for e in train]


@pytest.mark.parametrize(("row", "message"), [
    ({"text": "a", "labels": ["food", "food"]}, "d.jsonl:2: field 'labels' expected each label once, got ['food', 'food']"),
    ({"text": "a", "labels": [None]}, "d.jsonl:2: field 'labels' expected a list of labels, got [None]"),
    ({"text": "a", "labels": 3}, "d.jsonl:2: field 'labels' expected a list of labels, got 3"),
    ({"text": "a", "label": "x"}, "d.jsonl:2: field 'labels' is missing - did you mean 'label'?"),
])  # fmt: skip
def test_labels_that_are_no_list_are_refused(folder, row, message):
    write([ROWS[0], row])
    with pytest.raises(DataError) as caught:
        MultiLabel(path="d.jsonl").check()
    assert str(caught.value) == message


def test_the_first_five_offenders_are_named(folder):
    write([ROWS[0], *({"text": "", "labels": []} for _ in range(7))])
    with pytest.raises(DataError) as caught:
        MultiLabel(path="d.jsonl").check()
    assert str(caught.value).startswith("d.jsonl:2: field 'text' expected some text, got an empty one; so too d.jsonl:3 (")
    assert "d.jsonl:6" in str(caught.value)
    assert "d.jsonl:7" not in str(caught.value)
    assert str(caught.value).endswith("and 2 more")
    write([ROWS[0], {"text": "x", "labels": ["odd"]}])
    with pytest.raises(DataError, match=r"d\.jsonl:2: field 'labels' expected one of 'food', 'service', got 'odd'"):
        MultiLabel(path="d.jsonl", labels=["food", "service"]).check()


def test_an_id_stands_for_one_row_of_its_file(folder):
    write([{"id": 7, **ROWS[0]}, {"id": 7, **ROWS[0]}, {"id": 8, **ROWS[1]}])
    MultiLabel(path="d.jsonl").check()
    write([{"id": 7, **ROWS[0]}, {"id": "7", **ROWS[1]}])
    with pytest.raises(DataError, match=r"d\.jsonl:2: expected an id of its own for each row, got '7' again, first at d\.jsonl:1"):
        MultiLabel(path="d.jsonl").check()


def test_what_is_above_the_threshold_is_given_and_nan_decides_nothing():
    assert decide("x", ["a", "b", "c"], [0.9, 0.5, 0.51]).labels == ("a", "c")
    assert decide("x", ["a", "b"], [0.2, 0.1]).labels == ()
    assert decide("x", ["a", "b"], [0.2, 0.1]).score == pytest.approx(0.8 * 0.9)
    assert decide("x", ["a", "b"], [float("nan"), 0.9]).labels is None
    assert decide("x", ["a", "b"], [0.2, 0.3], threshold=0.25).labels == ("b",)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd"))), min_size=1, max_size=12))
def test_figures_are_scikit_learns(folder_rows):
    true, guessed = (table([sorted(pair[side]) for pair in folder_rows], "abcd") for side in (0, 1))
    found = several.counts(true, guessed)
    occurs = [i for i in range(4) if true[:, i].any() or guessed[:, i].any()]
    alone = [f1_score(true[:, i], guessed[:, i], zero_division=0) for i in occurs]
    assert several.macro_f1(found) == pytest.approx(np.mean(alone) if alone else 0.0)
    assert several.micro_f1(found) == pytest.approx(f1_score(true, guessed, average="micro", zero_division=0))
    decided = np.ones(len(true), bool)
    assert several.subset_accuracy(true, guessed, decided) == pytest.approx((true == guessed).all(1).mean())
    theirs = precision_recall_fscore_support(true, guessed, average=None, zero_division=0)
    for column, name in enumerate(("precision", "recall", "f1", "support")):
        assert [row[name] for row in several.per_class(found, "abcd")] == pytest.approx(list(theirs[column]))


def test_undecided_texts_are_wrong(folder):
    write(ROWS)
    task = MultiLabel(path="d.jsonl", validation=0, test=0)
    pairs = [(e, Prediction("", labels=e.fields["labels"])) for e in task.load("train")]
    assert task.score(pairs)["subset_accuracy"] == task.score(pairs)["micro_f1"] == 1.0
    pairs[1] = (pairs[1][0], Prediction(""))
    assert task.score(pairs)["subset_accuracy"] == 0.8
    assert task.score(pairs)["undecided"] == 1


# ---------------------------------------------------------------------------------------------- pairs


def test_pairs_are_framed_as_their_tokenizer_frames_them():
    bert = WordPieceTokenizer().train(["the cat sat on the mat", "打开 the door 打开"] * 3, at_most=24)
    tokens, types, cut = pair_tokens("the cat", "on the mat", bert, 99)
    framed = bert.add_special(bert.encode("the cat"), bert.encode("on the mat"))
    assert (tokens, types, cut) == (framed.ids, framed.types, 0)
    assert set(types) == {0, 1}
    assert pair_tokens("the cat", None, bert, 99) == (row_tokens("the cat", bert, 99)[0], None, 0)
    border, types, _ = pair_tokens("打开", "the mat", tokenizer(), 99)
    assert border[0] == tokenizer().bos_id
    assert len(border) == len(types)
    assert types[0] == 0
    assert types[-1] == 1


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(4, 40))
def test_of_a_pair_that_is_too_long_the_longer_text_is_cut(first, second, length):
    made = tokenizer()
    a, b = "light " * first, "door " * second
    tokens, types, cut = pair_tokens(a, b, made, length)
    n, m = len(made.encode(a)), len(made.encode(b))
    marks = len(pair_tokens("", "", made, 99)[0])
    assert len(tokens) == len(types) <= max(length, marks)
    assert len(tokens) == n + m + marks - cut
    left, right = types.count(0) - marks, types.count(1)
    assert left + right == n + m - cut
    if cut and length >= marks:
        assert len(tokens) == length
        assert left == n or left >= right  # only the longer one is cut
        assert right == m or right >= left - 1


def test_rows_of_pairs_keep_the_second_text_and_both_decide_the_split(folder):
    rows = [{"text": "same question", "second": f"paragraph {i}", "label": "ab"[i % 2]} for i in range(40)]
    write(rows)
    task = create("task", {"type": "classify", "path": "d.jsonl"})
    assert 0 < len(task.load("test")) < 20
    assert {e.fields["second"] for e in task.load("test")}.isdisjoint(e.fields["second"] for e in task.load("train"))
    assert task.encode(task.load("train")[0], tokenizer(), 99)[0].types is not None
    write([*rows, {"text": "x", "label": "a"}])
    with pytest.raises(DataError, match=r"d\.jsonl:41: field 'second' is missing"):
        create("task", {"type": "classify", "path": "d.jsonl"}).check()


def test_folds_cover_everything_but_the_test_part_once(folder):
    write([{"text": f"第 {i} row", "label": "ab"[i % 2]} for i in range(90)])
    whole = create("task", {"type": "classify", "path": "d.jsonl"})
    rest = {e.id for split in ("train", "validation") for e in whole.load(split)}
    folds = [create("task", {"type": "classify", "path": "d.jsonl", "folds": 4, "fold": i}) for i in range(4)]
    parts = [{e.id for e in fold.load("validation")} for fold in folds]
    assert set.union(*parts) == rest
    assert sum(map(len, parts)) == len(rest)
    assert all({e.id for e in fold.load("train")} == rest - part for fold, part in zip(folds, parts))
    assert all(fold.load("test") == whole.load("test") for fold in folds)
    with pytest.raises(RecipeError, match="'folds' and a 'fold' below it"):
        create("task", {"type": "classify", "path": "d.jsonl", "folds": 4, "fold": 4})


def test_an_example_without_labels_has_no_target(folder):
    write(ROWS)
    task = MultiLabel(path="d.jsonl")
    assert task.encode(Example("1", {"text": "a"}), tokenizer(), 9)[0].label is None
