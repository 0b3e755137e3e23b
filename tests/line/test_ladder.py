"""The shipped ladder at toy size: every kind of model in one recipe, one evaluation and one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.line.conftest import write_data
from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.core.registry import create
from yanmo.evaluate.compare import side_by_side
from yanmo.evaluate.record import Record
from yanmo.evaluate.sections import overview
from yanmo.samples import path

pytestmark = pytest.mark.slow

RECURRENT, TRANSFORMERS = ("rnn", "lstm"), ("gpt", "bert", "xlnet", "t5", "bart")
NETWORKS = (*RECURRENT, *TRANSFORMERS)
TOY = [
    "corpus.source=[{type: jsonl, path: data/en.jsonl, language: en}, {type: jsonl, path: data/zh.jsonl, language: zh}]", "corpus.validation=0.1",
    "tokenizer.size=600", "ngram.model.order=3", "evaluate.tasks.1.path=data/pairs.jsonl", "evaluate.samples=['It was']",
    *(f"{name}.train={{steps: 4, batch_tokens: 512, validate_every: 2}}" for name in NETWORKS),
    *(f"{name}.objective.context=64" for name in NETWORKS), *(f"{name}.model.depth=1" for name in NETWORKS),
    *(f"{name}.model.width=32" for name in NETWORKS), *(f"{name}.model.heads=2" for name in TRANSFORMERS),
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_data(folder)
        for name in ("en", "zh"):  # the beginnings of chapters: held-out text is scored whole
            rows = [json.loads(line) for line in Path(f"data/{name}.jsonl").read_text(encoding="utf-8").splitlines()]
            cut = [{**row, "text": row["text"][: 1500 if name == "en" else 450]} for row in rows]
            Path(f"data/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in cut), encoding="utf-8")
        pairs = [line for name in ("en", "zh") for line in (path("minimal_pairs") / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[::20]]
        Path("data/pairs.jsonl").write_text("\n".join(pairs) + "\n", encoding="utf-8")
        execute(load("ladder", TOY), "runs/ladder", console=Console(quiet=True))
    return folder / "runs/ladder"


def stages():
    return {entry.name: entry.stage for entry in load("ladder").stages}


def test_every_network_has_the_same_time_and_about_the_same_size():
    found = stages()
    assert {name for name, stage in found.items() if stage.type == "pretrain"} == {"ngram", *NETWORKS}
    assert len({found[name].train.minutes for name in NETWORKS}) == 1
    assert len(NETWORKS) * found["gpt"].train.minutes <= 25  # what is left of half an hour is for the evaluation
    size = found["tokenizer"].tokenizer.size
    sizes = {name: create("model", found[name].model).complete(None, found[name].objective.context).parameters(size) for name in NETWORKS}
    assert all(1_200_000 < number < 1_650_000 for number in sizes.values()), sizes


def test_every_kind_is_in_one_table_on_the_same_items(run):
    rows = files.read_json(run / "evaluate/results.json")
    whole = {(row["model"], row["metric"]): row for row in rows if "group" not in row}
    for name in ("ngram", *NETWORKS):
        bits = "pseudo_bits_per_byte" if name == "bert" else "bits_per_byte"
        assert 0 < whole[name, bits]["low"] <= whole[name, bits]["value"] <= whole[name, bits]["high"]
        assert 0 <= whole[name, "accuracy"]["low"] <= whole[name, "accuracy"]["value"] <= whole[name, "accuracy"]["high"] <= 1
    assert ("bert", "bits_per_byte") not in whole
    assert len({row["n"] for (_, metric), row in whole.items() if metric.endswith("bits_per_byte")}) == 1
    assert {row["n"] for (_, metric), row in whole.items() if metric == "accuracy"} == {50}
    for language in ("en", "zh"):
        [chance] = [row for row in rows if row["model"] == "chance" and row["metric"] == "accuracy" and row.get("group") == f"language={language}"]
        assert (chance["value"], chance["n"]) == (0.5, 25)


def test_the_table_keeps_figures_apart_that_are_not_alike(run):
    head, *lines = overview.lines(Record(run, run / "evaluate"))
    assert [line[0] for line in lines] == ["ngram", *NETWORKS, "chance"]
    table = {line[0]: dict(zip(head, line)) for line in lines}
    assert table["bert"]["bits per byte"] == table["bert"]["bits per byte, Chinese"] == "–"
    assert all(table[name]["pseudo bits per byte"] == "–" for name in ("ngram", *NETWORKS, "chance") if name != "bert")
    assert all("[" in table[name]["minimal pairs right"] for name in ("ngram", *NETWORKS))
    assert table["chance"]["minimal pairs right"] == "0.500"
    assert table["ngram"]["parameters"] == "–"
    assert table["ngram"]["reads"] == "counted"
    shown = side_by_side(run)
    assert all(name in shown for name in NETWORKS)


def test_the_report_and_the_card_hold_it(run):
    report = (run / "report.html").read_text(encoding="utf-8")
    assert 'id="overview"' in report
    assert "behind a single gap" in report
    assert "Losses of different objectives" in report
    card = (run / "card.md").read_text(encoding="utf-8")
    assert "pseudo bits per byte | all" in card
    assert "subject_verb_agreement" not in card  # ten phenomena are for the report
