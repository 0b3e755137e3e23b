"""Pairs of texts and texts with any number of labels, through a whole recipe: trained, saved, loaded, evaluated the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import yanmo
from yanmo.core import files
from yanmo.core.registry import create
from yanmo.evaluate.runner import evaluate_model

RECIPE = """
name: both
seed: 0
stages:
  - corpus: {source: {type: jsonl, path: pairs.jsonl}, steps: []}
  - tokenizer: {type: characters, special: ["[CLS]", "[SEP]"]}
  - {name: tfidf, finetune: {model: {type: tfidf}, task: &several {type: multi_label, path: several.jsonl, validation: 0.2, test: 0.2}}}
  - {name: several, finetune: {tokenizer: tokenizer, model: &small {type: bert, depth: 1, width: 16, heads: 2, context: 48}, task: *several, objective: {type: multi_label, balance: inverse}, train: {steps: 30, validate_every: 10, threads: 1, optim: {type: adamw, lr: 0.01}}}}
  - {name: pairs, finetune: {tokenizer: tokenizer, model: *small, task: &pairs {type: classify, path: pairs.jsonl, validation: 0.2, test: 0.2}, objective: {type: supervised, focal: 1.0}, train: {steps: 4, threads: 1}}}
  - evaluate: {tasks: [*several, *pairs]}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("both")
    several = [{"text": f"{'soup 汤 ' * (i % 2)}{'waiter 服务 ' * (i % 3 == 0)}day {i} 😀", "labels": ["food"] * (i % 2) + ["service"] * (i % 3 == 0)}
               for i in range(90)]  # fmt: skip
    pairs = [{"text": f"is it {i}", "second": f"{'yes' if i % 2 else 'no'} 它是 {i}", "label": ["b", "a"][i % 2]} for i in range(60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, rows in (("several", several), ("pairs", pairs)):
            Path(f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        Path("both.yaml").write_text(RECIPE, "utf-8")
        yanmo.run("both.yaml", run_dir="run")
    return place


@pytest.fixture(autouse=True)
def _there(run, monkeypatch):
    monkeypatch.chdir(run)


def test_several_labels_are_learned_saved_and_told(run):
    config = files.read_json(Path("run/several/model/config.json"))
    assert config["problem_type"] == "multi_label_classification"
    assert config["architectures"] == ["BertForSequenceClassification"]
    model = yanmo.load("run/several")
    both, _ = model.predict(["soup 汤 waiter 服务", "day 3 😀"])
    assert set(both.scores) == {"food", "service"}
    assert both.labels == tuple(sorted(name for name, value in both.scores.items() if value > 0.5))
    results = {(r["model"], r["metric"]): r["value"] for r in files.read_json(Path("run/evaluate/results.json")) if r["task"].startswith("multi")}
    assert results["tfidf", "macro_f1"] > results["majority", "macro_f1"]
    assert {metric for name, metric in results if name == "several"} == {"macro_f1", "micro_f1", "subset_accuracy"}


def test_answers_do_not_depend_on_company_and_evaluate_gives_them_again(run):
    model = yanmo.load("run/several")
    texts = ["soup 汤", "waiter 服务 day " * 3, "x"]
    together = [list(p.scores.values()) for p in model.predict(texts)]
    alone = [list(model.predict([content])[0].scores.values()) for content in texts]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    task = create("task", {"type": "multi_label", "path": "several.jsonl"})
    rows = evaluate_model("run/several", task)
    assert {row["metric"] for row in rows} == {"macro_f1", "micro_f1", "subset_accuracy"}


def test_pairs_are_predicted_as_they_were_trained(run):
    model = yanmo.load("run/pairs")
    (one, other) = model.predict([("is it 3", "yes 它是 3"), ("is it 3", "no 它是 3")])
    assert one.scores != other.scores
    assert one.text == "is it 3"
    lines = [json.loads(line) for line in next(iter(Path("run/evaluate/answers/pairs").glob("classify*.jsonl"))).read_text("utf-8").splitlines()]
    asked = [(line["text"], line["second"]) for line in lines]
    assert [p.label for p in model.predict(asked)] == [line["predicted"] for line in lines]
    assert all(line["second"] for line in lines)


def test_a_model_of_one_label_is_left_out_where_any_number_is_asked(run):
    left = files.read_json(Path("run/evaluate/tables.json"))["left_out"]
    assert {(entry["model"], entry["task"].split("-")[0]) for entry in left} >= {("pairs", "multi_label"), ("several", "classify")}


def test_transformers_reads_the_saved_model_as_the_same(run):
    import torch
    from transformers import AutoModelForSequenceClassification

    theirs = AutoModelForSequenceClassification.from_pretrained("run/several/model").eval()
    assert theirs.config.problem_type == "multi_label_classification"
    model = yanmo.load("run/several")
    row = create("task", {"type": "multi_label", "path": "several.jsonl"}).encode(
        create("task", {"type": "multi_label", "path": "several.jsonl", "test": 0, "validation": 0}).load("train")[1], model.tokenizer, 48)[0]  # fmt: skip
    with torch.no_grad():
        logits = theirs(torch.tensor([row.tokens])).logits[0].double().sigmoid()
    content = create("task", {"type": "multi_label", "path": "several.jsonl", "test": 0, "validation": 0}).load("train")[1].fields["text"]
    np.testing.assert_allclose(list(model.predict([content])[0].scores.values()), logits.numpy(), atol=1e-5)
