"""Test items in the training corpus: found by lineage, figures on clean and dirty ones, short ones said."""

from __future__ import annotations

import json
from pathlib import Path

from tests.evaluate.conftest import chinese, english, write
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.data import Example
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.evaluate.contamination import corpora, search

TRAINED = {"objective": {"type": "causal", "context": 32}, "train": {"steps": 2, "batch_tokens": 128}}


def test_grams_in_both_scripts_and_what_is_too_short():
    items = [Example("en", {"text": english(3), "label": english(9)}), Example("zh", {"text": chinese(5)}),
             Example("clean", {"text": "No document of the corpus says anything at all like this sentence about umbrellas in the rain."}),
             Example("short", {"text": "短 and short"}), Example("choice", {"text": "Who?", "choices": ["nobody", chinese(7)]})]  # fmt: skip
    found = search(items, [("a", "before it. " + english(3).upper()), ("b", english(9)), ("c", chinese(5)), ("d", "他说：" + chinese(7))])
    assert found.dirty == {"en": "a", "zh": "c", "choice": "d"}
    assert found.short == {"short"}


def test_by_lineage_of_a_run(folder):
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
