"""`yanmo new`: the recipe it writes is valid, names the user's own fields, and never overwrites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from yanmo.core.errors import RequestError, YanmoError
from yanmo.core.recipe import load
from yanmo.stages.check import check
from yanmo.stages.draft import draft


@pytest.fixture
def data(folder):
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("研墨 is to grind the ink stick. 🖌️\n" * 50, encoding="utf-8")
    Path("rows.jsonl").write_text("\n".join(json.dumps({"body": f"第{i}段文字", "n": i}, ensure_ascii=False) for i in range(9)), encoding="utf-8")
    Path("labels.csv").write_text("review,stars\n" + "".join(f"good film {i},pos\n很差 {i},neg\n" for i in range(20)), encoding="utf-8")
    Path("labels.jsonl").write_text("".join(json.dumps({"text": f"t {i}", "label": "ab"[i % 2]}) + "\n" for i in range(20)))
    return folder


@pytest.mark.parametrize(("text", "labels"), [("texts", None), ("texts", "labels.csv"), (None, "labels.jsonl"), ("rows.jsonl", "labels.jsonl"), ("texts/*.txt", None)])
def test_the_recipe_is_valid_and_its_data_sound(data, text, labels):
    path = draft("mine", text, labels, 3)
    recipe = load(path)
    assert recipe.name == "mine"
    assert recipe.budget.minutes == 3
    assert "#" in path.read_text(encoding="utf-8")
    report = check(str(path))
    assert report["ok"], report["problems"]


def test_the_users_own_field_names_are_found(data):
    content = yaml.safe_load(draft("mine", "rows.jsonl", "labels.csv").read_text(encoding="utf-8"))
    assert content["stages"][0]["corpus"]["source"]["fields"] == {"text": "body"}
    tasks = [stage["finetune"]["task"] for stage in content["stages"] if "finetune" in stage]
    assert tasks[0]["fields"] == {"text": "review", "label": "stars"}


@pytest.mark.parametrize("arguments", [("mine", None, None), ("mine", "nowhere", None), ("mine", None, "nowhere"), ("a/b", "texts", None), ("mine", "texts", "texts"), ("mine", "texts", None, 0)])
def test_wrong_requests_write_nothing(data, arguments):
    before = sorted(p.name for p in Path(".").iterdir())
    with pytest.raises(YanmoError) as caught:
        draft(*arguments)
    assert caught.value.exit_status == 2
    assert sorted(p.name for p in Path(".").iterdir()) == before


def test_an_existing_recipe_is_kept(data):
    Path("mine.yaml").write_text("mine")
    with pytest.raises(RequestError, match="it exists"):
        draft("mine", "texts", None)
    assert Path("mine.yaml").read_text() == "mine"


def test_check_names_every_problem_and_writes_nothing(data):
    path = draft("mine", "texts", "labels.csv")
    before = sorted(p.name for p in Path(".").rglob("*"))
    Path("labels.csv").write_text("review,stars\nonly one,pos\n", encoding="utf-8")
    report = check(str(path))
    assert not report["ok"]
    assert any("two labels" in problem for problem in report["problems"])
    assert sorted(p.name for p in Path(".").rglob("*")) == before
    assert check("nowhere.yaml")["problems"]
