"""What every head keeps to, and that a task of a head of its own is evaluated, compared and shown without a word elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.evaluate.conftest import write
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.data import Example
from yanmo.core.errors import RequestError
from yanmo.core.execute import execute
from yanmo.core.messages import Text
from yanmo.core.recipe import parse
from yanmo.core.registry import PARTS, lookup, names, resolve
from yanmo.evaluate.compare import compare, side_by_side, table
from yanmo.evaluate.head import Head, head_by_type, head_of
from yanmo.evaluate.measure import Answer, Figure
from yanmo.evaluate.runner import evaluate_model
from yanmo.tasks.base import Task
from yanmo.tasks.records import records


@pytest.mark.parametrize("name", names("head"))
def test_every_head_says_what_it_is(name):
    head = lookup("head", name)()
    assert isinstance(head, Head)
    assert head.title.render("en")
    assert type(head).answer is not Head.answer
    assert type(head).figures is not Head.figures or type(head).results is not Head.results
    assert type(head).unfit is not Head.unfit


@pytest.mark.parametrize("name", names("task"))
def test_every_task_with_a_metric_can_be_evaluated(name):
    task: Any = resolve("task", name)
    if task.head not in ("preferences", "prompts"):  # what alignment trains on is no test
        assert not task.metric or isinstance(head_by_type(name), Head)


class Endings(Task):
    """A task of nobody's: does what a model writes end as the text does?"""

    head: ClassVar[str] = "endings"
    metric: ClassVar[str] = "distance"
    higher_is_better: ClassVar[bool] = False

    type: str = f"{__name__}:Endings"
    path: str

    def files(self) -> list[Path]:
        return [Path(self.path)]

    def load(self, split: str = "test") -> list[Example]:
        rows = [Example(str(i), row.values, row.where) for i, row in enumerate(records(Path(self.path)))]
        return rows if split == "test" else []


class EndingsHead(Head):
    """The distance of two lengths, and the length."""

    def unfit(self, model: Any, task: Task) -> Text | None:
        return None

    def answer(self, model: Any, task: Task, examples: list[Example]) -> list[Answer]:
        return [{"id": e.id, "language": e.fields["language"], "given": len(e.fields["question"]), "wanted": 9} for e in examples]

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        given, wanted = (np.array([line[name] for line in lines], dtype=float) for name in ("given", "wanted"))
        return {"length": Figure(lambda a: a.mean(-1), (given,)),
                "distance": Figure(lambda a, b: abs(a - b).mean(-1), (given, wanted))}  # fmt: skip


LABELS = [{"text": f"{word} {i}", "label": label} for i in range(4) for word, label in (("good 好", "pos"), ("bad 坏", "neg"))]
ROWS = [{"question": "墨" * (4 + i), "language": "zh"} for i in range(5)] + [{"question": "ink🐋e\u0301", "language": "en"}] * 2


@pytest.fixture
def endings(monkeypatch, folder):
    monkeypatch.setitem(PARTS["head"], "endings", f"{__name__}:EndingsHead")
    write(Path("labels.jsonl"), LABELS)
    write(Path("rows.jsonl"), ROWS)
    return {"type": f"{__name__}:Endings", "path": "rows.jsonl"}


def test_a_head_of_ones_own_is_evaluated_compared_and_shown(endings):
    task = {"type": "classify", "path": "labels.jsonl", "validation": 0, "test": 0.4}
    stages = [{"finetune": {"model": {"type": "majority"}, "task": task}}, {"evaluate": {"tasks": [endings, task]}}]
    for run in ("one", "two"):
        execute(parse({"name": "e", "stages": stages}, Place("", "e.yaml", {})), run, console=Console(quiet=True))
    name = "Endings"
    rows = {(r["metric"], r.get("group")): r for r in json.loads(Path("one/evaluate/results.json").read_text()) if r["task"] == name}
    assert {metric for metric, _ in rows} == {"length", "distance"}
    assert {group for _, group in rows} == {None, "language=zh", "language=en"}
    assert rows["distance", "language=zh"]["value"] == pytest.approx((5 + 4 + 3 + 2 + 1) / 5)
    about = json.loads(Path("one/evaluate/tables.json").read_text())["tasks"][name]
    assert (about["metric"], about["n"], about["best"]) == ("distance", 7, "finetune")
    compared = [row for row in compare("one", "two") if row["task"] == name and not row.get("group")]
    assert {row["metric"] for row in compared} == {"length", "distance"}
    assert all(row["difference"]["low"] == 0 for row in compared)
    assert name in table(compared)
    report, card = Path("one/report.html").read_text(), Path("one/card.md").read_text()
    for shown in (report, card, side_by_side("one")):
        assert "distance" in shown
        assert "length" in shown


def test_a_task_with_an_unknown_head_is_refused(endings):
    class Stray(Endings):
        """Of no head."""

        head: ClassVar[str] = "nothing"

    with pytest.raises(RequestError, match=r"expected a task with a head of classify, .*language, .* got head 'nothing'"):
        head_of(Stray(path="rows.jsonl"))


def test_a_task_is_scored_on_a_model_by_its_own_head(endings):
    from yanmo.core.registry import create

    task = {"type": "classify", "path": "labels.jsonl", "validation": 0, "test": 0.4}
    execute(parse({"name": "e", "stages": [{"finetune": {"model": {"type": "majority"}, "task": task}}]}, Place("", "e.yaml", {})),
            "run", console=Console(quiet=True))  # fmt: skip
    found = evaluate_model("run", create("task", endings))
    assert {row["metric"] for row in found} == {"length", "distance"}
