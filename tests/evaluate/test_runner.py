"""Models × tasks on a real small run: what is scored, what is left out and why, and that a killed evaluation goes on."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from tests.evaluate.conftest import labelled, make, write, write_data
from yanmo.core.errors import DataError, RequestError
from yanmo.core.registry import create
from yanmo.evaluate.heldout import assignments, openings
from yanmo.evaluate.runner import Assignment, evaluate, evaluate_model
from yanmo.evaluate.subjects import Subject, subjects
from yanmo.inference.model import Model
from yanmo.tasks.language_modeling import LanguageModeling, document

GENERATING = {"counted", "counted-characters", "trained"}
LABELLING = {"majority-model", "tfidf", "tuned"}  # a stage called like a floor is told apart


def read(run: Path, name: str):
    return json.loads((run / "evaluate" / name).read_text(encoding="utf-8"))


def test_every_model_is_scored_on_the_same_items_with_floors_beside(run):
    rows = read(run, "results.json")
    assert all(list(row)[:7] == ["model", "task", "metric", "value", "low", "high", "n"] for row in rows)
    bits = {r["model"]: r for r in rows if r["metric"] == "bits_per_byte" and "group" not in r}
    assert set(bits) == GENERATING | {"chance"}
    assert len({row["n"] for row in bits.values()}) == 1
    assert all(0 < row["low"] <= row["value"] <= row["high"] <= 8 for row in bits.values())
    scores = {r["model"]: r for r in rows if r["metric"] == "macro_f1" and "group" not in r}
    assert set(scores) == LABELLING | {"chance", "majority"}
    assert scores["majority-model"] == {**scores["majority"], "model": "majority-model"}
    assert scores["tfidf"]["value"] > scores["majority"]["value"]
    assert {r["group"] for r in rows if r["task"] == "classify" and "group" in r} == {"language=en", "language=zh"}
    assert {"language=en", "language=zh"} <= {r["group"] for r in rows if r["task"] == "language_modeling" and "group" in r}


def test_what_a_model_cannot_do_is_left_out_with_the_reason(run):
    left = {(row["model"], row["task"]): row["reason"] for row in read(run, "tables.json")["left_out"]}
    assert set(left) == {(m, "classify") for m in GENERATING} | {(m, "language_modeling") for m in LABELLING}
    assert left["trained", "classify"] == "it has no labels: finetune it on the task first"


def test_the_figures_follow_from_the_answers_and_agree_with_the_score_verb(run):
    lines = [json.loads(line) for line in (run / "evaluate/answers/trained/language_modeling.jsonl").read_text().splitlines()]
    row = next(r for r in read(run, "results.json") if r["model"] == "trained" and r["metric"] == "bits_per_byte")
    value = sum(a["nats"] for a in lines) / math.log(2) / sum(a["bytes"] for a in lines)
    assert row["value"] == pytest.approx(value, abs=1e-6)
    held = [example for item in assignments([LanguageModeling()], run / "corpus", "evaluate") for example in item.examples]
    assert [a["id"] for a in lines] == [example.id for example in held]
    first = Model.open(run / "trained").score(held[0].fields["text"])
    assert first["bits_per_byte"] == pytest.approx(lines[0]["nats"] / math.log(2) / lines[0]["bytes"], rel=1e-5)


def test_predict_and_evaluation_say_the_same(run):
    lines = [json.loads(line) for line in (run / "evaluate/answers/tuned/classify.jsonl").read_text().splitlines()]
    examples = [e for r in labelled(14, 20) for e in [r["text"]]]
    found = Model.open(run / "tuned").predict(examples)
    assert [a["predicted"] for a in lines[: len(found)]] == [p.label for p in found]
    assert lines[0]["where"] == "data/labels/test.jsonl:1"


def test_tables_hold_what_a_list_of_figures_cannot(run):
    tables = read(run, "tables.json")
    task = tables["tasks"]["classify"]
    assert task["labels"] == ["<b>odd</b>", "off", "on"]
    assert task["best"] == "tfidf"
    assert task["concerns"] == [
        "test: 1 of 31 texts also stand in the training data (first: data/labels/test.jsonl:31 = data/labels/train.jsonl:1)"
    ]
    assert task["data"] == [
        {
            "folder": "data/labels",
            "files": ["test.jsonl", "train.jsonl", "validation.jsonl"],
            "title": "Lamps",
            "licence": "Apache-2.0",
        }
    ]
    entry = task["models"]["tuned"]
    assert [sum(row) for row in entry["confusion"]] == [row["support"] for row in entry["per_class"]]
    assert entry["truncated"] > 0  # the hostile texts are longer than the context of 32
    assert set(task["behind"]) == LABELLING - {"tfidf"}
    assert task["behind"]["majority-model"]["high"] < 0
    assert tables["models"]["trained"]["parameters"] > 1000
    assert tables["models"]["counted"]["parameters"] is None
    assert {(sample["model"], sample["prompt"]) for sample in read(run, "samples.json")} == {
        (m, p) for m in GENERATING for p in ("It was", "却说")
    }


def test_the_same_run_gives_the_same_bytes(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data()
    again = make(tmp_path / "again")
    for file in sorted((run / "evaluate").rglob("*.json*")):
        if file.name not in ("manifest.json", "begun.json"):
            name = file.relative_to(run)
            assert (again / name).read_bytes() == file.read_bytes(), name
    digests = [json.loads((r / "evaluate" / "manifest.json").read_text())["digest"] for r in (run, again)]
    assert digests[0] == digests[1]


def test_what_was_answered_is_not_asked_again(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent)
    task = create("task", {"type": "classify", "path": "data/labels"})
    given = [Assignment("classify", task, task.load("test"))]
    models = subjects([run / "tfidf", run / "majority"])
    whole = evaluate(models, given, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "answers" / "majority-model")
    opened = []
    monkeypatch.setattr(Subject, "open", lambda self: opened.append(self.name) or Model.open(self.folder))
    again = evaluate(models, given, tmp_path / "b")
    assert opened == ["majority-model"]
    assert (again.results, again.tables) == (whole.results, whole.tables)


def test_evaluate_model_takes_all_of_the_data_and_the_models_own_labels(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("some.jsonl"), labelled(30, 34))
    rows = evaluate_model(str(run), create("task", {"type": "classify", "path": "some.jsonl"}))  # a run: its last classifier
    assert {r["model"] for r in rows} == {"tuned", "chance", "majority"}
    assert next(r for r in rows if r["metric"] == "accuracy")["n"] == 20
    write(Path("bad.jsonl"), [*labelled(30, 31)[:2], {"text": "灯", "label": "onn"}])
    with pytest.raises(
        DataError,
        match=r"^bad\.jsonl:3: field 'label' expected one of '<b>odd</b>', 'off', 'on', got 'onn' - did you mean 'on'\?$",
    ):
        evaluate_model(run / "tfidf", create("task", {"type": "classify", "path": "bad.jsonl"}))
    Path("text.txt").write_text("却说曹操 and the whale 🐋 e\u0301.", encoding="utf-8")
    [bits, perplexity, chance] = evaluate_model(
        run / "trained", create("task", {"type": "language_modeling", "path": "text.txt"})
    )
    assert bits["value"] == pytest.approx(
        Model.open(run / "trained").score(Path("text.txt").read_text("utf-8"))["bits_per_byte"], abs=1e-6
    )
    assert (perplexity["metric"], chance["value"], bits["n"]) == ("perplexity", 8.0, 1)


def test_evaluate_model_refuses_what_cannot_be_done(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("some.jsonl"), labelled(30, 31))
    for path, task, reason in ((run / "trained", "classify", "expected a model for the task 'classify', got it has no labels: finetune it on the task first"),
                               (run / "tfidf", "language_modeling", "got it labels texts and gives no probability to text"),
                               (tmp_path / "nothing", "classify", "no such folder"), (tmp_path, "classify", "no config.json in it")):  # fmt: skip
        with pytest.raises(RequestError) as caught:
            evaluate_model(path, create("task", {"type": task, "path": "some.jsonl"}))
        assert caught.value.exit_status == 2
        assert reason in str(caught.value)


def test_names_of_models_tell_folders_apart(tmp_path):
    for place in ("a/lstm/model", "b/lstm/model", "c/lstm"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "a/lstm/manifest.json").write_text("{}")
    found = subjects([tmp_path / "a/lstm/model", tmp_path / "b/lstm", tmp_path / "c/lstm", tmp_path / "c/lstm"])
    assert [subject.name for subject in found] == ["lstm", "b-lstm", "c-lstm", "c-lstm-2"]


def test_prompts_follow_the_script_of_the_held_out_text():
    def given(*texts):
        return [Assignment("t", LanguageModeling(), [document(content, "x") for content in texts])]

    both = ("It was", "却说")
    assert openings(both, given("The whale.", "却说曹操引兵")) == ["It was", "却说"]
    assert openings(both, given("The whale swam.")) == ["It was"]
    assert openings(both, given("却说曹操引兵")) == ["却说"]
    assert openings(both, given("Жили-были старик со старухой у самого синего моря")) == ["Жили-были старик со стар"]
    assert openings(both, []) == ["It was", "却说"]


def test_language_modeling_without_text_says_what_is_missing(tmp_path):
    with pytest.raises(RequestError, match=r"^evaluate\.tasks\.0\.path: expected a path to text, or a corpus stage"):
        assignments([LanguageModeling()], None, "evaluate")
