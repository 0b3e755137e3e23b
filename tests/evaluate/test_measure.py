"""Figures from answers: values, intervals, groups, ties and values that are not finite."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from yanmo.evaluate import labelled, measure
from yanmo.evaluate.heads.classify import ClassifyHead
from yanmo.evaluate.heads.language import LanguageHead, bits_per_byte
from yanmo.tasks.classify import Classify
from yanmo.tasks.language_modeling import LanguageModeling

RNG = np.random.default_rng(7)
NAMES = ["正面", "negative", "c"]
TASK = Classify(path="nowhere.jsonl", labels=NAMES)


def labels(n: int = 200, undecided: bool = True) -> list[dict]:
    truth = RNG.choice(NAMES, n, p=[0.6, 0.3, 0.1])
    given = [name if RNG.random() < 0.7 else str(RNG.choice(NAMES)) for name in truth]
    return [{"id": str(i), "label": str(t), "predicted": None if undecided and i % 17 == 0 else str(g), "score": 0.5,
             "group": f"language={'zh' if i % 3 else 'en'}"} for i, (t, g) in enumerate(zip(truth, given))]  # fmt: skip


def texts(n: int = 50) -> list[dict]:
    return [{"nats": float(size * RNG.uniform(1, 2)), "tokens": int(size // 3), "bytes": int(size), "source": f"s{i % 2}",
             "language": "zh" if i % 2 else "en"} for i, size in enumerate(RNG.integers(20, 3000, n))]  # fmt: skip


def test_classification_agrees_with_scikit_learn():
    answers = labels()
    rows = {(r["metric"], r.get("group")): r for r in ClassifyHead().scored("m", "t", answers, TASK)}
    truth, given = [a["label"] for a in answers], [a["predicted"] or "-" for a in answers]
    assert rows["accuracy", None]["value"] == pytest.approx(accuracy_score(truth, given), abs=1e-6)
    expected = f1_score(truth, given, labels=NAMES, average="macro", zero_division=0)
    assert rows["macro_f1", None]["value"] == pytest.approx(expected, abs=1e-6)
    for row in rows.values():
        assert row["low"] < row["value"] < row["high"]
    assert rows["accuracy", "language=zh"]["n"] + rows["accuracy", "language=en"]["n"] == rows["accuracy", None]["n"] == 200
    narrow = rows["accuracy", None]
    assert narrow["high"] - narrow["low"] == pytest.approx(4 * math.sqrt(narrow["value"] * (1 - narrow["value"]) / 200), rel=0.15)


def test_a_tie_or_nan_is_wrong_and_no_label_of_its_own():
    answers = [{"label": "a", "predicted": "a"}, {"label": "b", "predicted": None}, {"label": "b", "predicted": "b"}]
    assert measure.accuracy(answers).value == pytest.approx(2 / 3)
    assert labelled.figures(answers, ["a", "b"])["macro_f1"].value == pytest.approx((1 + 2 / 3) / 2)  # not divided by three


def test_bits_per_byte_is_a_ratio_of_sums():
    answers = texts()
    rows = {(r["metric"], r.get("group")): r for r in LanguageHead().scored("m", "t", answers)}
    nats, size = sum(a["nats"] for a in answers), sum(a["bytes"] for a in answers)
    whole = rows["bits_per_byte", None]
    assert whole["value"] == pytest.approx(nats / math.log(2) / size, abs=1e-6)
    assert rows["perplexity", None]["value"] == pytest.approx(math.exp(nats / sum(a["tokens"] for a in answers)), rel=1e-6)
    assert whole["low"] < whole["value"] < whole["high"]
    assert {group for _, group in rows} == {None, "language=en", "language=zh", "source=s0", "source=s1"}


def test_a_paired_difference_is_surer_than_the_figures():
    answers = texts(80)
    better = [{**a, "nats": a["nats"] * 0.98} for a in answers]
    first, second = bits_per_byte(answers), bits_per_byte(better)
    gap = measure.minus(first, second)
    low, high = gap.bounds()
    assert 0 < low < gap.value < high
    whole = first.bounds()
    assert high - low < (whole[1] - whole[0]) / 10


@pytest.mark.parametrize("nats", [math.nan, math.inf, None])
def test_a_figure_that_does_not_exist_is_null(nats):
    [row, _] = LanguageHead().scored("m", "t", [{"nats": nats, "tokens": 3, "bytes": 9}] * 3)
    assert (row["value"], row["low"], row["high"]) == (None, None, None)


def test_a_single_item_has_no_interval_and_one_value_makes_no_group():
    rows = LanguageHead().scored("m", "t", [{"nats": 5.0, "tokens": 3, "bytes": 9, "source": "a", "language": ""}])
    assert len(rows) == 2
    assert all(row["low"] is None and row["value"] is not None for row in rows)


def test_many_labels_do_not_need_a_table_for_each_resample():
    names = [f"l{i}" for i in range(900)]
    answers = [{"label": names[i % 900], "predicted": names[(i + i % 2) % 900]} for i in range(1000)]
    figure = labelled.figures(answers, names)["macro_f1"]
    assert 0.2 < figure.value < 0.5


def test_floors(tmp_path):
    answers = labels(400, undecided=False)
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(("c", "negative", "negative"))]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Classify(path={"train": str(tmp_path / "train.jsonl")}, labels=NAMES, validation=0, test=0)
    floors = ClassifyHead().floors("t", task, answers)
    rows = {(r["model"], r["metric"], r.get("group")): r for r in floors}
    chance = rows["chance", "accuracy", None]
    assert chance["value"] == pytest.approx(1 / 3, abs=0.005)
    assert 0.27 < chance["low"] < chance["value"] < chance["high"] < 0.40
    share = sum(a["label"] == "negative" for a in answers) / 400
    assert rows["majority", "accuracy", None]["value"] == pytest.approx(share)
    assert rows["majority", "macro_f1", None]["value"] == pytest.approx(2 * share / (1 + share) / 3, abs=1e-6)
    assert ("chance", "macro_f1", "language=zh") in rows
    assert ClassifyHead().floors("t", task, answers) == floors
    exact = LanguageHead().floors("t", LanguageModeling(), texts(4))
    assert {(r["value"], r["low"], r["high"]) for r in exact} == {(8.0, 8.0, 8.0)}
    assert exact[0]["n"] == 4
