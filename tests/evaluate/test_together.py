"""Models that answer together, under evaluation: as one more model of a stage, and on the command line's path."""

import json
from pathlib import Path

import pytest

from tests.inference.tiny import TEXTS, make_run
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.evaluate.runner import evaluate_model

ROWS = [{"text": f"{word} {i}", "label": label} for i in range(8) for word, label in (("good 好", "pos"), ("bad 坏", "neg"))]
TASK = {"type": "classify", "path": "labels.jsonl", "validation": 0, "test": 0.3}


def recipe(*groups):
    Path("labels.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    makers = [{"name": name, "finetune": {"model": {"type": kind}, "task": TASK}}
              for name, kind in (("first", "tfidf"), ("second", "majority"))]  # fmt: skip
    stages = [*makers, {"evaluate": {"tasks": [TASK], "ensembles": [list(group) for group in groups]}}]
    return parse({"name": "e", "stages": stages}, Place("", "e.yaml", {}))


def test_an_ensemble_is_one_more_model_of_the_results(folder):
    execute(recipe(("first", "second")), "run", console=Console(quiet=True))
    results = json.loads(Path("run/evaluate/results.json").read_text())
    accuracy = {row["model"]: row["value"] for row in results if row["metric"] == "accuracy" and not row.get("group")}
    assert accuracy["first+second"] == accuracy["first"] == 1.0  # the one without an opinion does not outvote the other
    tables = json.loads(Path("run/evaluate/tables.json").read_text())
    assert tables["models"]["first+second"]["bytes"] > tables["models"]["first"]["bytes"]


@pytest.mark.parametrize(("group", "said"), [
    (("first",), "an ensemble of at least two of first, second, got first"),
    (("first", "first"), "an ensemble of at least two of first, second"),
    (("first", "secnd"), "did you mean 'second'"),
])  # fmt: skip
def test_an_ensemble_of_what_is_not_there(group, said, folder):
    with pytest.raises(RequestError, match=said):
        execute(recipe(group), "run", console=Console(quiet=True))


def test_text_is_scored_by_several_at_once(folder, tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run"))
    Path("held.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    task = create("task", {"type": "language_modeling", "path": "held.txt"})

    def bits(path, *beside):
        rows = evaluate_model(path, task, beside)
        return next((row["model"], row["value"]) for row in rows if row["metric"] == "bits_per_byte" and not row.get("group"))

    (_, first), (_, second) = bits(run / "lstm"), bits(run / "transformer")
    name, together = bits(run / "lstm", run / "transformer")
    assert name == "lstm+transformer"
    assert together < (first + second) / 2
