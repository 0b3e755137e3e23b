"""The shipped recipes of named entities at toy size, on data of their form made here; answers lead back to the texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.core.registry import create
from yanmo.inference.model import Model
from yanmo.models.store import save
from yanmo.text.wordpiece import WordPieceTokenizer

pytest.importorskip("pycrfsuite", reason="python-crfsuite is in the extra 'tasks'")

SURNAMES, GIVEN, PLACES = "江李周王赵陈", ["泽民", "鹏", "恩来", "选", "元任", "毅"], ["北京", "上海市", "São Paulo", "香港"]


def rows(count: int, first: int) -> str:
    lines = []
    for i in range(first, first + count):
        name, place = SURNAMES[i % 6] + GIVEN[i // 6 % 6], PLACES[i % 4]
        text = f"第{i}次会议 {name} 同志到了{place}。🖌️"
        at, there = text.index(name), text.index(place)
        spans = [{"start": at, "end": at + len(name), "label": "PER"}, {"start": there, "end": there + len(place), "label": "LOC"}]
        lines.append(json.dumps({"text": text, "spans": spans}, ensure_ascii=False) + "\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("entities")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("people-daily", "tweet-entities"):
            Path("data", name).mkdir(parents=True)
            for split, count, first in (("train", 80, 0), ("validation", 12, 200), ("test", 24, 300)):
                Path("data", name, f"{split}.jsonl").write_text(rows(count, first), encoding="utf-8")
        tokenizer = WordPieceTokenizer().train([rows(80, 0)], 400)
        part = create("model", {"type": "bert", "depth": 1, "width": 32, "heads": 2})
        save("base", part.build(tokenizer, torch.Generator().manual_seed(0), 128), tokenizer)
        toy = ["crf.model.iterations=20", "lstm.model.width=48", "lstm.train={steps: 50, optim: {type: adamw, lr: 0.01}}"]
        execute(load("ner-zh", toy), "runs/zh", console=Console(quiet=True))
        toy = ["crf.model.iterations=20", "minilm.model=base", "minilm.train={steps: 20, optim: {type: adamw, lr: 0.005}}"]
        execute(load("ner-en", toy), "runs/en", console=Console(quiet=True))
        yield folder


@pytest.mark.parametrize(("run", "models"), [("zh", {"crf", "lstm"}), ("en", {"crf", "minilm"})])
def test_every_model_stands_beside_its_floors(folder, run, models):
    results = files.read_json(folder / "runs" / run / "evaluate" / "results.json")
    figures = {row["model"]: row for row in results if row["metric"] == "entity_f1"}
    assert set(figures) == models | {"no-entity", "names-by-heart"}
    assert figures["crf"]["value"] > 0.95
    assert run == "en" or figures["lstm"]["value"] > 0.9
    assert figures["crf"]["low"] <= figures["crf"]["value"] <= figures["crf"]["high"]


def test_a_saved_tagger_names_the_characters_of_the_text(folder):
    text = "🖌️ 第7次会议 王毅 同志到了上海市。"
    for stage in ("crf", "lstm"):
        [found] = Model.open(folder / "runs" / "zh" / stage).tag([text])
        assert {(text[s.start : s.end], s.label) for s in found.spans} == {("王毅", "PER"), ("上海市", "LOC")}, stage
