"""Choices and labels by likelihood: the figures follow from the lines, ties are wrong, the batch does not matter, cuts are counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.evaluate.conftest import write
from tests.inference.tiny import KINDS, make_run, model, tokenizer
from yanmo.core.registry import create
from yanmo.evaluate.choosing import choose
from yanmo.evaluate.heads.choice import ChoiceHead
from yanmo.evaluate.runner import evaluate_model
from yanmo.inference.continuations import pair_ids, score_pairs
from yanmo.tasks.prompting import Posed

QUESTIONS = [
    {"question": "The brush, the ink, the paper and the", "choices": ["stone are called", "glass are called", "dog"], "answer": 0, "language": "en"},
    {"question": "床前明月光，疑是", "choices": ["地上霜", "天上星", "人间雪 🙂"], "answer": "A", "language": "zh"},
    {"question": "春眠不觉晓，处处", "choices": ["闻花香", "闻啼鸟"], "answer": "B", "language": "zh"},
    {"question": "Which", "choices": ["same", "same"], "answer": 0, "language": "en"},
]  # fmt: skip


def opened(kind: str):
    from yanmo.models.base import Loaded

    loaded = Loaded(model(kind), tokenizer(), {}, Path(kind), [])
    return SimpleNamespace(loaded=loaded, tokenizer=tokenizer())


@pytest.fixture
def questions(folder):
    write(Path("q.jsonl"), QUESTIONS)
    return lambda **settings: create("task", {"type": "multiple_choice", "path": "q.jsonl", "template": "{question}", **settings})


def test_what_the_model_has_read_it_chooses_and_a_tie_is_wrong(questions):
    task = questions(normalize="sum")
    lines = ChoiceHead().answer(opened("ngram"), task, task.load("test"))
    assert [line["predicted"] for line in lines] == ["A", "A", "B", None]
    figures = ChoiceHead().figures(task, lines)
    assert figures["accuracy"].value == 0.75
    assert set(figures) == {"accuracy", "accuracy_tokens", "accuracy_bytes", "accuracy_characters", "ece"}
    rows = {(r["model"], r["metric"], r.get("group")): r for r in ChoiceHead().results("q", task, {"ngram": lines})}
    assert rows["chance", "accuracy", None]["value"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 2 + 1 / 2) / 4, abs=1e-6)
    assert rows["majority", "accuracy", None]["value"] == 0.75
    assert rows["ngram", "accuracy", "language=en"]["value"] == 0.5
    again = json.loads(json.dumps(lines, ensure_ascii=False, allow_nan=False))
    assert {k: f.value for k, f in ChoiceHead().figures(None, again).items()} == {k: f.value for k, f in figures.items()}
    assert ChoiceHead().table(task, lines)["undecided"] == 1


@pytest.mark.parametrize("how", ["sum", "tokens", "bytes", "characters", "prior"])
def test_what_is_compared_is_worked_out_by_hand(questions, how):
    task, asked = questions(normalize=how, prior="It is") if how == "prior" else questions(normalize=how), opened("lstm")
    examples = task.load("test")[:3]
    for posed, found in zip(task.pose(examples), choose(asked, task.pose(examples), how)):
        for choice, value, tokens in zip(posed.choices, found.values, found.tokens):
            [one] = score_pairs(model("lstm"), [pair_ids(tokenizer(), posed.context, choice)])
            [free] = score_pairs(model("lstm"), [pair_ids(tokenizer(), "It is", choice)])
            said = choice.strip()
            expected = {"sum": one.logprob, "tokens": one.logprob / tokens, "bytes": one.logprob / len(said.encode()),
                        "characters": one.logprob / len(said), "prior": one.logprob - free.logprob}[how]  # fmt: skip
            assert value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_choice_does_not_depend_on_the_batch(questions, kind):
    task = questions()
    posed = task.pose(task.load("test"))
    whole = choose(opened(kind), posed, "bytes")
    for room in (1, 30, 100_000):
        for one, other in zip(whole, choose(opened(kind), posed, "bytes", batch_tokens=room)):
            assert one.winner == other.winner
            assert one.values == pytest.approx(other.values, abs=1e-5)
    for item, one in zip(posed, whole):
        assert choose(opened(kind), [item], "bytes")[0].winner == one.winner


def test_a_model_that_gives_no_number_chooses_nothing(monkeypatch):
    from yanmo.inference import continuations
    from yanmo.inference.continuations import Continued

    monkeypatch.setattr(continuations, "score_texts", lambda loaded, pairs, **k: [Continued(math.nan, 1, False)] * len(pairs))
    [found] = choose(opened("lstm"), [Posed("a", ("b", "c"))], "sum")
    assert found.winner is None


def test_a_long_prompt_is_cut_counted_and_shown(questions):
    long = [{"question": "ink and stone " * 200, "choices": ["a", "b"], "answer": 0}, QUESTIONS[0]]
    write(Path("q.jsonl"), long)
    task = questions()
    lines = ChoiceHead().answer(opened("transformer"), task, task.load("test"))
    assert lines[0]["cut"] > 300
    assert "cut" not in lines[1]
    assert ChoiceHead().table(task, lines)["truncated"] == 1


LABELLED = [{"text": f"{place} {i}", "label": label} for i in range(6) for place, label in (("The ink is ground", "stone"), ("床前明月", "光"))]


def test_labels_are_asked_of_a_model_that_writes_beside_one_that_has_them(folder):
    run = make_run(folder / "run")
    write(Path("l.jsonl"), LABELLED)
    settings = {"type": "classify", "path": {"train": "l.jsonl", "test": "l.jsonl"}, "validation": 0}
    for prompt, n in (({}, 0), ({"shots": 2, "normalize": "sum", "template": "{text}:"}, 2), ({"normalize": "prior"}, 0)):
        rows = evaluate_model(run / "lstm", create("task", {**settings, "prompt": prompt}))
        found = {row["metric"]: row for row in rows if row["model"] == "lstm"}
        assert {"accuracy", "macro_f1", "mcc", "auroc", "ece"} <= set(found)
        assert 0 <= found["auroc"]["value"] <= 1
        assert found["accuracy"]["n"] == 12, n
    again = evaluate_model(run / "lstm", create("task", {**settings, "prompt": {"normalize": "prior"}}))
    assert again == rows
