"""The fine-tuning stage: from an earlier model, from a folder, from nothing, and the baselines."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import DataError, RecipeError, RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.store import load as open_model

LIGHT = ["turn on the light in the {}", "please switch on the {} lamp 💡", "把{}的灯打开", "开一下{}的灯"]
MUSIC = ["play some music in the {}", "put on a song, café {}", "在{}放点音乐", "播放{}的歌"]
ROOMS = ["kitchen", "hall", "garden", "客厅", "厨房", "卧室", "attic", "阳台"]
SMALL = {"transformer": "{type: transformer, depth: 2, width: 32, heads: 2}", "lstm": "{type: lstm, depth: 1, width: 32}"}
TRAIN = "{epochs: 40, optim: {type: adamw, lr: 0.005}}"
TASK = "{type: classify, path: {train: train.jsonl, validation: validation.jsonl}, test: 0}"


def write(folder: Path, finetune: str, before: str = "", rows: int = 8, longest: int = 0) -> Path:
    examples = [(text.format(room), label) for room in ROOMS[:rows] for label, texts in (("light", LIGHT), ("music", MUSIC)) for text in texts]
    lines = [json.dumps({"text": text + " …" * longest, "label": label}, ensure_ascii=False) for text, label in examples]
    (folder / "train.jsonl").write_text("\n".join(line for i, line in enumerate(lines) if i % 5) + "\n", encoding="utf-8")
    (folder / "validation.jsonl").write_text("\n".join(lines[::5]) + "\n", encoding="utf-8")
    texts = [json.dumps({"text": text}, ensure_ascii=False) for text, _ in examples]
    (folder / "corpus.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    recipe = f"""
name: r
seed: 3
stages:
  - corpus: {{source: {{type: jsonl, path: corpus.jsonl}}, validation: 0.2}}
  - tokenizer: {{type: characters}}
{before}
  - finetune: {finetune}
"""
    (folder / "r.yaml").write_text(recipe, encoding="utf-8")
    return folder / "r.yaml"


def run(recipe: Path, *overrides: str, directory="runs/r", console=None, force=False) -> Path:
    execute(load(recipe, list(overrides)), directory, console=console or Console(quiet=True), force=force)
    return Path(directory) / "finetune"


def pretrain(kind: str) -> str:
    return f"  - pretrain: {{model: {SMALL[kind]}, objective: {{type: causal, context: 48}}, train: {{steps: 20, batch_tokens: 512}}}}"


def accuracy(made: Path) -> float:
    opened = open_model(made)
    rows = [json.loads(line) for line in Path("validation.jsonl").read_text(encoding="utf-8").splitlines()]
    hits = 0
    for row in rows:
        if opened.tokenizer is None:
            scores = opened.model.probabilities([row["text"]])[0]
        else:
            with torch.no_grad():
                scores = opened.model(Inputs(torch.tensor([[opened.tokenizer.eos_id, *opened.tokenizer.encode(row["text"])]])))[0].numpy()
        hits += opened.labels[int(np.argmax(scores))] == row["label"]
    return hits / len(rows)


@pytest.mark.parametrize("kind", SMALL)
def test_an_earlier_model_learns_to_label_texts(kind, folder):
    made = run(write(folder, f"{{task: {TASK}, train: {TRAIN}}}", before=pretrain(kind)))
    opened = open_model(made)
    assert opened.labels == ["light", "music"]
    assert accuracy(made) > 0.9
    told = files.read_json(made / "training.json")
    assert told["steps"] == told["planned_steps"] == 80
    assert [v["step"] for v in told["validations"]] == list(range(2, 81, 2))
    best = min(told["validations"], key=lambda v: (-v["macro_f1"], v["loss"]))
    assert told["best_step"] == best["step"]


def test_from_nothing_and_from_a_folder(folder):
    made = run(write(folder, f"{{model: {SMALL['transformer']}, task: {TASK}, train: {TRAIN}}}"))
    assert accuracy(made) > 0.8
    recipe = write(folder, f"{{model: {made / 'model'}, task: {TASK}, train: {{steps: 2}}}}")
    again = run(recipe, directory="runs/again")  # goes on from a finished classifier's body
    before, after = (open_model(place).model.backbone.state_dict() for place in (made, again))
    moved = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert 0 < moved < 0.02


def test_a_model_folder_works_alone(folder):
    first = run(write(folder, f"{{task: {TASK}, train: {{steps: 1}}}}", before=pretrain("transformer")))
    (folder / "alone.yaml").write_text(
        f"name: alone\nstages:\n  - finetune: {{model: {first.parent / 'pretrain'}, task: {TASK}, train: {{epochs: 3}}}}\n", encoding="utf-8"
    )
    assert open_model(run(folder / "alone.yaml", directory="runs/alone")).labels == ["light", "music"]


@pytest.mark.parametrize("kind", ["majority", "tfidf"])
def test_the_baselines_are_fitted_on_the_training_rows(kind, folder):
    made = run(write(folder, f"{{model: {{type: {kind}}}, task: {TASK}}}"))
    opened = open_model(made)
    assert opened.labels == ["light", "music"]
    assert opened.tokenizer is None
    assert accuracy(made) == (6 / 13 if kind == "majority" else 1.0)
    assert create("stage", {"type": "finetune", "model": {"type": kind}, "task": {"type": "classify", "path": "x"}}).weight == 0


def test_two_runs_have_the_same_bytes(folder):
    recipe = write(folder, f"{{model: {SMALL['transformer']}, task: {TASK}, train: {{epochs: 2}}}}")
    first, second = run(recipe, directory="runs/a"), run(recipe, directory="runs/b")
    for name in ("model/model.safetensors", "training.json", "plan.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_long_texts_are_cut_and_counted(folder, capsys):
    recipe = write(folder, f"{{model: {SMALL['transformer'][:-1]}, context: 40}}, task: {TASK}, train: {{steps: 2}}}}", longest=30)
    made = run(recipe, console=Console(), force=True)
    assert files.read_json(made / "training.json")["cut_texts"] == 51
    assert "51 of 51 texts are longer than 40 tokens and are cut" in capsys.readouterr().err


def test_early_stopping_keeps_the_best_epoch(folder):
    recipe = write(folder, f"{{model: {SMALL['transformer']}, task: {TASK}, train: {{epochs: 40, patience: 2, optim: {{type: adamw, lr: 0.01}}}}}}")
    told = files.read_json(run(recipe) / "training.json")
    assert told["stopped_early"]
    assert told["steps"] < told["planned_steps"]
    assert told["best_step"] <= told["steps"] - 2 * 2


@pytest.mark.parametrize(
    ("finetune", "before", "error", "message"),
    [
        (f"{{task: {TASK}}}", "", RequestError, r"finetune.model: expected an earlier stage that gives a model"),
        (f"{{model: {{type: crf}}, task: {TASK}}}", "", RequestError, r"finetune.model: expected a model for the task 'classify', got crf"),
        (f"{{model: nowhere, task: {TASK}}}", "", RequestError, r"finetune.model: expected an earlier stage or a path, got nowhere"),
        (f"{{task: {TASK}}}", "  - pretrain: {model: {type: ngram, order: 2}}", RequestError,
         r"finetune.model: expected a model that can be trained further \(a Transformer or an LSTM\), got yanmo_ngram"),
        (f"{{model: {{type: tfidf}}, task: {TASK}, train: {{optim: {{type: adamw, lr: -1}}}}}}", "", RecipeError, r"train.optim.lr"),
        ("{model: {type: tfidf}, task: {type: classify, path: missing.jsonl}}", "", DataError, r"no such path: missing.jsonl"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense(finetune, before, error, message, folder):
    with pytest.raises(error, match=message) as raised:
        run(write(folder, finetune, before=before))
    assert raised.value.exit_status == 2


def test_no_validation_rows(folder):
    task = "{type: classify, path: train.jsonl, validation: 0, test: 0}"
    recipe = write(folder, f"{{model: {SMALL['transformer']}, task: {task}, train: {{steps: 2, patience: 1}}}}")
    with pytest.raises(DataError, match=r"expected rows in the validation split, got none"):
        run(recipe)
