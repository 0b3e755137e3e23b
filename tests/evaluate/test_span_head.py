"""Questions evaluated: every figure from the lines, intervals over passages, floors of nothing, readers and writers alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from yanmo.core.data import Example
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.evaluate.heads.span import SpanHead, longest_common
from yanmo.evaluate.measure import scored
from yanmo.evaluate.runner import evaluate_model
from yanmo.inference.model import Model
from yanmo.models import store
from yanmo.text.metrics import squad

PASSAGES = [f"The stone number {i} lay in hall {i}. Mr. Li found it in {1900 + i} 🪨. Nobody knows why it is so cafe\u0301 brown." for i in range(6)]
ZH = [f"第{i}方砚台在西安。李先生一九{i}六年发现了它。没有人知道为什么。" for i in range(6)]


def rows() -> list[dict]:
    made = []
    for i, (en, zh) in enumerate(zip(PASSAGES, ZH)):
        made += [{"question": f"Who found the stone number {i}?", "context": en, "answers": ["Mr. Li"], "language": "en"},
                 {"question": "In which year was it found?", "context": en, "answers": [str(1900 + i)], "language": "en"},
                 {"question": "Who broke it?", "context": en, "answers": [], "language": "en"},
                 {"question": "谁发现了它？", "context": zh, "answers": ["李先生"], "language": "zh"}]  # fmt: skip
    return made


@pytest.fixture
def task(folder):
    Path("qa.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()), encoding="utf-8")
    return create("task", {"type": "qa", "path": "qa.jsonl"}).whole()


@pytest.fixture
def baseline(task):
    trained = create("task", {"type": "qa", "path": {"train": "qa.jsonl"}, "validation": 0, "test": 0})
    store.save("baseline", create("model", "retrieval").fit_task(trained), None)
    return Model.open("baseline")


def test_every_figure_follows_from_the_lines(task, baseline):
    head, examples = SpanHead(), task.load("test")
    assert head.unfit(baseline, task) is None
    lines = json.loads(json.dumps(head.answer(baseline, task, examples)))
    assert [line["id"] for line in lines] == [example.id for example in examples]
    results = head.results("qa", task, {"baseline": lines})
    values = {(r["model"], r["metric"], r.get("group")): r for r in results}
    score = task.score([(e, baseline.answer(e.fields["question"], e.fields["text"])) for e in examples])
    for metric, name in (("f1", "f1"), ("exact", "exact"), ("answer_f1", "answer_f1"), ("no_answer_f1", "no_answer_f1")):
        assert values["baseline", metric, None]["value"] == pytest.approx(score[name], abs=1e-6)
        assert values["baseline", metric, None]["low"] <= score[name] <= values["baseline", metric, None]["high"]
    assert (values["baseline", "f1", None]["n"], values["baseline", "answer_f1", None]["n"], values["baseline", "no_answer_f1", None]["n"]) == (24, 18, 6)
    assert values["baseline", "f1", "language=zh"]["n"] == 6
    assert {model for model, _, _ in values} == {"baseline", "first-sentence", "longest-common", "no-answer"}
    assert values["no-answer", "exact", None]["value"] == pytest.approx(6 / 24)
    assert values["no-answer", "no_answer_f1", None]["value"] == 1
    first = np.mean([squad.score(e.fields["text"].split(". ")[0] + ".", [a["text"] for a in e.fields["answers"]], task.rule).f1
                     for e in examples if e.fields["language"] == "en"])  # fmt: skip
    assert values["first-sentence", "f1", "language=en"]["value"] == pytest.approx(first, abs=1e-6)
    assert head.figures(None, lines)["f1"].value == pytest.approx(values["baseline", "f1", None]["value"], abs=1e-6)
    assert head.table(task, lines)["no_answer"] == sum(line["predicted"] == "" for line in lines)
    assert head.about(task)["passages"] == 12


def line(passage: str, right: bool, answers=("x",)) -> dict:
    return {"id": passage, "passage": passage, "answers": list(answers), "predicted": "x" if right else "y", "rule": "squad2",
            "language": "", "group": "", "floors": {}}  # fmt: skip


def test_intervals_are_over_passages():
    """Ten passages whose twenty questions are all right or all wrong tell what ten questions do, not what two hundred do."""
    lines = [line(str(p), p % 2 == 0) for p in range(10) for _ in range(20)]
    head = SpanHead()
    (by_passage,) = [r for r in head.scored("m", "qa", lines) if r["metric"] == "f1"]
    alone = [line(str(p), p % 2 == 0) for p in range(10)]
    (of_ten,) = [r for r in head.scored("m", "qa", alone) if r["metric"] == "f1"]
    assert (by_passage["low"], by_passage["high"]) == (of_ten["low"], of_ten["high"])
    assert (by_passage["n"], of_ten["n"]) == (200, 10)
    low, high = scored(head.figures(None, lines))["f1"][1]
    assert high - low < 0.5 * (by_passage["high"] - by_passage["low"])


def test_no_decision_is_wrong_and_one_passage_has_no_interval():
    lines = [{**line("a", True), "predicted": None}, line("a", True)]
    (row,) = [r for r in SpanHead().scored("m", "qa", lines) if r["metric"] == "exact"]
    assert (row["value"], row["low"], row["high"]) == (0.5, None, None)


def test_the_sentence_with_most_words_in_a_row():
    assert longest_common("Who found the stone in 1956?", "A stone. The old stone in 1956 was red. He found the stone.") == "The old stone in 1956 was red."
    assert longest_common("砚台在哪里发现？", "很古老。砚台在西安。谁发现。") == "砚台在西安。"
    assert longest_common("?", "…") == "…"


def test_a_model_that_writes_is_asked_by_prompt_and_long_passages_are_cut(task, folder):
    from tests.inference import tiny

    store.save("writer", tiny.model("transformer", 96), tiny.tokenizer())
    model = Model.open("writer")
    head, examples = SpanHead(), task.load("test")[:3]
    assert head.unfit(model, task) is None
    lines = head.answer(model, task, examples)
    assert {line["by"] for line in lines} == {"prompt"}
    assert all(line["cut"] > 0 for line in lines)
    assert head.table(task, lines)["truncated"] == 3
    short = create("task", {"type": "qa", "path": "qa.jsonl", "answer_tokens": 4}).whole()
    again = head.answer(model, short, [Example("x", {**examples[0].fields, "text": "A"}, "")])
    assert again[0]["predicted"] is None or again[0]["predicted"]
    assert head.unfit(model, create("task", {"type": "qa", "path": "qa.jsonl", "chat": True})) is None


def test_a_model_directory_is_evaluated_on_a_file(baseline, task):
    rows = evaluate_model("baseline", create("task", {"type": "qa", "path": "qa.jsonl"}))
    assert {row["metric"] for row in rows} == {"f1", "exact", "answer_f1", "answer_exact", "no_answer_f1"}
    from yanmo.models.tfidf import TfidfModel

    store.save("labels", TfidfModel().fit_texts(["a b", "c d"], ["x", "y"], ["x", "y"]), None)
    with pytest.raises(RequestError, match="finetune it on the task first"):
        evaluate_model("labels", create("task", {"type": "qa", "path": "qa.jsonl"}))
