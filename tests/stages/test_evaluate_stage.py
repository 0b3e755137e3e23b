"""The evaluation stage: its settings, what it reads, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.errors import DataError, RecipeError, RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.core.run import Run

ROWS = [{"text": f"{word} {i}", "label": label} for i in range(6) for word, label in (("good 好", "pos"), ("bad 坏", "neg"))]


@pytest.fixture(autouse=True)
def _data(folder):
    Path("labels.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")


def recipe(*stages) -> object:
    return parse({"name": "e", "stages": list(stages)}, Place("", "e.yaml", {}))


TASK = {"type": "classify", "path": "labels.jsonl", "validation": 0, "test": 0.3}
MAJORITY = {"finetune": {"model": {"type": "majority"}, "task": TASK}}


def test_the_recipe_names_its_mistakes():
    for settings, message in (
        ({}, "stage.tasks: expected a value, got nothing - add the key 'tasks'"),
        ({"tasks": []}, "stage.tasks: expected at least one task, got []"),
        ({"tasks": ["clasify"]}, "stage.tasks.0.type: unknown task 'clasify' - did you mean 'classify'?"),
        ({"tasks": ["language_modeling"], "sample": ["x"]}, "stage.sample: unknown key 'sample' - did you mean 'samples'?"),
    ):
        with pytest.raises(RecipeError) as caught:
            create("stage", {"type": "evaluate", **settings})
        assert str(caught.value) == message


def test_its_settings_go_round():
    stage = create("stage", {"type": "evaluate", "tasks": [TASK], "samples": ["却说"]})
    again = create("stage", stage.model_dump(mode="json"))
    assert again.model_dump() == stage.model_dump()
    assert stage.files() == [Path("labels.jsonl")]
    assert stage.samples == ("却说",)


def test_bad_data_stops_the_run_before_any_work():
    Path("labels.jsonl").write_text('{"text": "a", "label": "pos"}\n{"text": "", "label": "neg"}\n')
    plan = recipe({"evaluate": {"tasks": [TASK], "models": ["."]}})
    with pytest.raises(DataError, match=r"^labels\.jsonl:2: field 'text'"):
        execute(plan, "run", console=Console(quiet=True))
    assert not Path("run").exists()


def test_without_models_or_with_an_unknown_one():
    with pytest.raises(RequestError, match=r"^evaluate\.models: no stage 'majorty' in the recipe - did you mean 'majority'\?$"):
        execute(
            recipe({"name": "majority", **MAJORITY}, {"evaluate": {"tasks": [TASK], "models": ["majorty"]}}),
            "run",
            console=Console(quiet=True),
        )
    stage = create("stage", {"type": "evaluate", "tasks": [TASK]})
    with pytest.raises(RequestError, match="an earlier stage that gives a model"):
        stage.run(Run(Path("run"), console=Console(quiet=True), stage="evaluate"), Path("run/evaluate"))


def test_no_test_rows_is_an_error_and_a_second_task_gets_a_number():
    empty = {**TASK, "test": 0}
    with pytest.raises(DataError, match=r"^evaluate\.tasks\.1: expected test data, got none"):
        execute(recipe(MAJORITY, {"evaluate": {"tasks": [TASK, empty]}}), "run", console=Console(quiet=True))
    other = {**TASK, "test": 0.6}
    execute(recipe(MAJORITY, {"evaluate": {"tasks": [TASK, other]}}), "two", console=Console(quiet=True))
    results = json.loads(Path("two/evaluate/results.json").read_text())
    assert {row["task"] for row in results} == {"classify", "classify-2"}


def test_a_finished_evaluation_is_skipped_and_changed_data_is_noticed():
    plan = recipe(MAJORITY, {"evaluate": {"tasks": [TASK]}})
    assert execute(plan, "run", console=Console(quiet=True))["stages"] == {"finetune": "ran", "evaluate": "ran"}
    assert (
        execute(recipe(MAJORITY, {"evaluate": {"tasks": [TASK]}}), "run", console=Console(quiet=True))["stages"]["evaluate"]
        == "skipped"
    )
    manifest = json.loads(Path("run/evaluate/manifest.json").read_text())
    assert {"results.json", "tables.json", "report.html", "answers/finetune/classify.jsonl"} <= set(manifest["files"])
    assert manifest["outputs"] == {
        "results": "results.json",
        "tables": "tables.json",
        "samples": "samples.json",
        "answers": "answers",
    }
    assert "seconds" not in Path("run/evaluate/tables.json").read_text()


def test_a_model_outside_the_run_is_taken_by_its_path():
    execute(recipe(MAJORITY), "first", console=Console(quiet=True))
    execute(recipe({"evaluate": {"tasks": [TASK], "models": ["first/finetune/model"]}}), "second", console=Console(quiet=True))
    results = json.loads(Path("second/evaluate/results.json").read_text())
    assert {row["model"] for row in results} == {"finetune", "chance", "majority"}
    assert Path("second/card.md").is_file()
