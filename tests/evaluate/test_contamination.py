"""Test items in the training corpus: found by lineage, figures on clean and dirty ones, short ones said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.evaluate.conftest import chinese, english, write
from yanmo.cli import main
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.data import Example
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.corpus.documents import iterate
from yanmo.evaluate.contamination import corpora, search

TRAINED = {"objective": {"type": "causal", "context": 32}, "train": {"steps": 2, "batch_tokens": 128}}


def test_grams_in_both_scripts_and_what_is_too_short():
    items = [Example("en", {"text": english(3), "label": english(9)}), Example("zh", {"text": chinese(5)}),
             Example("clean", {"text": "No document of the corpus says anything at all like this sentence about umbrellas in the rain."}),
             Example("short", {"text": "短 and short"}), Example("choice", {"text": "Who?", "choices": ["nobody", chinese(7)]})]  # fmt: skip
    found = search(items, [("a", "before it. " + english(3).upper()), ("b", english(9)), ("c", chinese(5)), ("d", "他说：" + chinese(7))])
    assert found.dirty == {"en": "a", "zh": "c", "choice": "d"}
    assert found.short == {"short"}
    assert found.shared["zh"] in chinese(5)
    assert len(found.shared["zh"]) >= 26


def test_by_lineage_of_a_run(folder, capsys):
    write(Path("en.jsonl"), [{"text": english(i)} for i in range(20)])
    unseen = [{"text": f"An umbrella of the year {i} was left behind in the rain by a careless clerk who had been promised {i} more."} for i in range(4)]
    write(Path("test.jsonl"), [*unseen, {"text": english(2)}, {"text": english(3)}, {"text": "too short"}])
    stages = [{"corpus": {"source": {"type": "jsonl", "path": "en.jsonl"}, "validation": 0.1, "engine": {"type": "local", "workers": 1}}},
              {"tokenizer": {"type": "bpe", "size": 280}}, {"name": "counted", "pretrain": {"model": {"type": "ngram", "order": 3}}},
              {"name": "base", "pretrain": {"model": {"type": "transformer", "depth": 1, "width": 16, "heads": 2}, **TRAINED}},
              {"name": "further", "pretrain": {"model": "base", **TRAINED}},
              {"evaluate": {"tasks": [{"type": "language_modeling", "path": "test.jsonl"}], "contamination": True}}]  # fmt: skip
    execute(parse({"name": "c", "seed": 0, "stages": stages}, Place()), "run", console=Console(quiet=True))
    assert corpora(Path("run/further")) == corpora(Path("run/counted/model")) == [Path("run/corpus")]
    assert corpora(Path("nowhere")) == []
    tables = json.loads(Path("run/evaluate/tables.json").read_text())["tasks"]["language_modeling"]["contamination"]
    assert set(tables) == {"counted", "base", "further"}
    for about in tables.values():
        assert (about["clean"], about["dirty"], about["short"]) == (4, 2, 1)
        assert set(about["figures"]["bits_per_byte"]) == {"clean", "dirty", "overall"}
    counted = tables["counted"]["figures"]["bits_per_byte"]
    assert counted["dirty"]["value"] < counted["overall"]["value"] < counted["clean"]["value"]
    documents = {row["id"]: row["text"] for row in iterate(Path("run/corpus"), columns=("id", "text"))}
    told = tables["base"]["items"]
    assert [item["where"] for item in told] == ["test.jsonl:5", "test.jsonl:6"]
    assert set(tables["base"]["documents"]) == {item["id"] for item in told}
    for item in told:
        assert item["file"] == "en.jsonl"
        assert item["shared"] in " ".join(documents[item["document"]].split())
    page, card = (Path(f"run/evaluate/{name}").read_text(encoding="utf-8") for name in ("report.html", "card.md"))
    for shown in (page, card):
        assert "Test items in the training text" in shown
        assert "test.jsonl:5" in shown
        assert f"en.jsonl: {told[0]['document']}" in shown
        assert f"{counted['dirty']['value']:.3f}" in shown
    assert "2 of 7 test items stand in the training text of counted, base, further." in page
    assert main(["evaluate", "run/counted", "--task", "language_modeling", "--data", "test.jsonl", "--contamination", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    by = {row.get("group"): row for row in rows if row["metric"] == "bits_per_byte" and row["model"] == "counted"}
    assert (by["clean"]["n"], by["dirty"]["n"], by["dirty"]["value"]) == (4, 2, counted["dirty"]["value"])
    shutil.copytree("run/counted/model", "alone")
    assert main(["evaluate", "alone", "--task", "language_modeling", "--data", "test.jsonl", "--contamination"]) == 2
    assert "alone: expected a model whose training text is found through its run, got none" in capsys.readouterr().err
