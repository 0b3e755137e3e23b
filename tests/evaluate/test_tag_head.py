"""Entities evaluated: a CRF and a small network through a recipe, floors beside, every figure from the answers alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.conftest import write
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.evaluate.heads.tag import TagHead
from yanmo.evaluate.runner import evaluate_model
from yanmo.tasks.ner import Ner
from yanmo.text.metrics import entities

pytest.importorskip("pycrfsuite", reason="python-crfsuite is in the extra 'tasks'")

NAMES = ["江泽民", "李鹏", "周恩来", "Marie Curie", "Ada", "Zoe\u0301"]
PLACES = ["北京", "São Paulo", "巴黎"]


def rows(count: int, first: int = 0) -> list[dict]:
    found = []
    for i in range(first, first + count):
        name, place = NAMES[i % 6], PLACES[i % 3]
        text = f"第{i}号 {name} 到了 {place} 🖌️"
        at, there = text.index(name), text.index(place)
        found.append({"text": text, "spans": [[at, at + len(name), "PER"], [there, there + len(place), "LOC"]], "language": "zh" if i % 2 else "en"})
    return found


def lines() -> list[dict]:
    """Answers of a model that finds one of two names, calls a place a name, and cuts one short."""
    return [
        {"id": "a", "spans": [[0, 3, "PER"], [5, 7, "LOC"]], "predicted": [[0, 3, "PER"], [5, 7, "PER"]], "score": 0.9, "group": "g=1"},
        {"id": "b", "spans": [[1, 4, "LOC"]], "predicted": [[1, 3, "LOC"]], "score": 0.8, "group": "g=2"},
        {"id": "c", "spans": [], "predicted": [[0, 1, "ORG"]], "score": None, "group": "g=2"},
    ]  # fmt: skip


def test_figures_are_those_of_the_lines():
    figures = TagHead().figures(None, lines())
    assert {name: pytest.approx(figure.value) for name, figure in figures.items()} == {
        "entity_f1": 2 / 7, "precision": 1 / 4, "recall": 1 / 3, "macro_f1": (0 + 2 / 3 + 0) / 3, "boundary_f1": 4 / 7}  # fmt: skip
    low, high = figures["entity_f1"].bounds()
    assert 0 <= low < 2 / 7 < high <= 1
    assert figures["macro_f1"].of([1]).value == 0.0


def test_intervals_of_many_types_keep_to_little_memory():
    rng = np.random.default_rng(0)
    many = [{"spans": [[0, 1, f"t{rng.integers(12)}"]], "predicted": [[0, 1, f"t{rng.integers(12)}"]]} for _ in range(2000)]
    figures = TagHead().figures(None, many)
    assert figures["macro_f1"].columns[0].nbytes <= 2000 * 12 * 3
    low, high = figures["macro_f1"].bounds()
    assert low < figures["macro_f1"].value < high


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ner")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(Path("data/train.jsonl"), rows(48))
        write(Path("data/test.jsonl"), rows(18, 100))
        task = {"type": "ner", "path": "data", "validation": 0.2}
        stages = [
            {"name": "crf", "finetune": {"model": {"type": "crf", "iterations": 30}, "task": task}},
            {"corpus": {"source": {"type": "jsonl", "path": "data/train.jsonl"}}},
            {"tokenizer": {"type": "characters", "min_count": 1}},
            {"name": "lstm", "finetune": {"model": {"type": "lstm", "depth": 1, "width": 64, "bidirectional": True}, "task": task,
                                          "train": {"steps": 60, "optim": {"type": "adamw", "lr": 0.01}}}},
            {"evaluate": {"tasks": [task]}},
        ]  # fmt: skip
        recipe = parse({"name": "names", "seed": 0, "stages": stages}, Place("", "names.yaml", {}))
        execute(recipe, folder / "run", console=Console(quiet=True))
        yield folder / "run"


def test_a_field_and_a_network_go_through_one_evaluation(run):
    results = json.loads((run / "evaluate" / "results.json").read_text(encoding="utf-8"))
    found = {(r["model"], r["metric"], r.get("group")): r for r in results}
    assert found["crf", "entity_f1", None]["value"] > 0.95
    assert found["lstm", "entity_f1", None]["value"] > 0.9
    assert found["no-entity", "entity_f1", None]["value"] == 0.0
    assert found["names-by-heart", "entity_f1", None]["value"] == 1.0
    assert {group for _, _, group in found} == {None, "language=en", "language=zh"}
    assert all(r["low"] is None or r["low"] <= r["value"] <= r["high"] for r in results)


def test_the_tables_say_what_figures_cannot(run):
    table = json.loads((run / "evaluate" / "tables.json").read_text(encoding="utf-8"))["tasks"]["ner"]
    assert table["labels"] == ["LOC", "PER"]
    assert {row["label"]: row["support"] for row in table["models"]["crf"]["per_type"]} == {"LOC": 18, "PER": 18}
    assert table["models"]["lstm"]["unreachable"] == table["models"]["lstm"]["unanswered"] == 0
    assert (run / "report.html").read_text(encoding="utf-8").count("Finding entities")


def test_answers_lead_back_to_the_text(run):
    answers = [json.loads(line) for line in (run / "evaluate" / "answers" / "lstm" / "ner.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {answer["text"][a:b] for answer in answers for a, b, label in answer["spans"] if label == "PER"} == set(NAMES)
    total = sum(entities.counts(map(tuple, a["spans"]), map(tuple, a["predicted"]), ["LOC", "PER"]) for a in answers)
    found = {(r["model"], r["metric"], r.get("group")): r for r in json.loads((run / "evaluate" / "results.json").read_text(encoding="utf-8"))}
    assert float(entities.f1(total.sum(0))) == pytest.approx(found["lstm", "entity_f1", None]["value"], abs=1e-6)


def test_a_model_alone_and_one_of_other_types(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("own.jsonl"), rows(6, 300))
    results = evaluate_model(run / "lstm", Ner(path="own.jsonl"))
    assert {r["model"] for r in results} == {"lstm", "no-entity"}  # no training texts, no names by heart
    write(Path("other.jsonl"), [{"text": "in Rome", "spans": [[3, 7, "GPE"]]}])
    with pytest.raises(Exception, match="an entity of the types 'LOC', 'PER'"):
        evaluate_model(run / "crf", Ner(path="other.jsonl"))
