"""Training settings through the stages: a posterior beside the model, averages, penalties; the same bytes twice."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import yanmo
from yanmo.cli import main
from yanmo.core.errors import RecipeError
from yanmo.core.files import read_json

from .test_finetune import SMALL, TASK, run, write

START = f"model: {SMALL['transformer']}"
IVON = "{epochs: 30, optim: {type: ivon, lr: 0.5, ess: 2000.0}}"


def test_a_variational_optimizer_leaves_a_posterior_to_draw_from(folder, capsys):
    recipe = write(folder, f"{{{START}, task: {TASK}, train: {IVON}}}")
    made = run(recipe)
    plan = read_json(made / "plan.json")
    assert plan["optimizer"]["ess"] == 2000.0
    with safe_open(made / "model" / "posterior.safetensors", "pt") as file, safe_open(made / "model" / "model.safetensors", "pt"):
        names = set(file.keys())
        assert "score.weight" in names
        assert all(float(file.get_tensor(name).min()) > 0 for name in names)
    again = run(recipe, directory="runs/again")
    assert (again / "model" / "posterior.safetensors").read_bytes() == (made / "model" / "posterior.safetensors").read_bytes()
    rows = [json.loads(line) for line in Path("validation.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = [row["text"] for row in rows]
    mean, drawn = yanmo.load(made).predict(texts), yanmo.load(made, samples=8).predict(texts)
    assert np.mean([p.label == row["label"] for p, row in zip(drawn, rows)]) > 0.7
    assert np.mean([p.score for p in drawn]) < np.mean([p.score for p in mean])  # less sure
    assert main(["predict", str(made), "把厨房的灯打开", "--samples", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in ("light", "music")
    assert main(["evaluate", str(made), "--task", "classify", "--data", "validation.jsonl", "--samples", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"]
    assert main(["predict", str(made), "灯", "--samples", "0"]) == 2
    assert "samples: expected at least one" in capsys.readouterr().err


def test_without_an_ess_the_data_counts_once_each(folder):
    recipe = write(folder, f"{{{START}, task: {TASK}, train: {{steps: 2, optim: {{type: ivon}}}}}}")
    examples = len(Path("train.jsonl").read_text(encoding="utf-8").splitlines())
    assert read_json(run(recipe) / "plan.json")["optimizer"]["ess"] == examples


def test_models_answer_together_on_the_command_line(folder, capsys):
    recipe = write(folder, f"{{{START}, task: {TASK}, train: {{epochs: 5, optim: {{type: adamw, lr: 0.005}}}}}}")
    first = run(recipe)
    second = run(recipe, "seed=9", directory="runs/other")
    assert main(["predict", str(first), "--with", str(second), "turn on the hall light", "播放阳台的歌", "--json"]) == 0
    together = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    texts = [row["text"] for row in together]
    wanted = [{label: (a.scores[label] + b.scores[label]) / 2 for label in a.scores}
              for a, b in zip(yanmo.load(first).predict(texts), yanmo.load(second).predict(texts))]  # fmt: skip
    assert [row["score"] for row in together] == pytest.approx([max(scores.values()) for scores in wanted], rel=1e-4)
    assert main(["evaluate", str(first), "--with", str(second), "--task", "classify", "--data", "validation.jsonl", "--json"]) == 0
    assert {row["model"] for row in json.loads(capsys.readouterr().out)["results"]} >= {"finetune+other-finetune"}


@pytest.mark.parametrize("average", ["{type: ema, decay: 0.9}", "{type: last, count: 3}"])
def test_an_average_is_kept_and_the_same_bytes_come_twice(average, folder):
    settings = f"{{epochs: 6, average: {average}, optim: {{type: adamw, lr: 0.01, l1: 1e-5, l2: 1e-4, noise: 1e-5, layer_decay: 0.9}}}}"
    recipe = write(folder, f"{{{START}, task: {TASK}, train: {settings}}}")
    first, second = run(recipe), run(recipe, directory="runs/b")
    plain = run(write(folder, f"{{{START}, task: {TASK}, train: {settings.replace(f'average: {average}, ', '')}}}"), directory="runs/c")
    weights = [(made / "model" / "model.safetensors").read_bytes() for made in (first, second, plain)]
    assert weights[0] == weights[1] != weights[2]
    losses = [[json.loads(line).get("loss") for line in (made / "metrics.jsonl").read_text().splitlines()] for made in (first, plain)]
    assert losses[0] == losses[1]  # training itself does not feel it


@pytest.mark.parametrize(("train", "said"), [
    ("{average: {type: ema, decay: 2}}", r"finetune\.train\.average\.decay: expected a number below 1"),
    ("{schedule: {type: cosine_restarts, restarts: 0}}", r"finetune\.train\.schedule\.restarts: expected a number of at least 1"),
    ("{optim: {type: adamw, betas: [0.9, 1.5]}}", r"finetune\.train\.optim\.betas.*expected a number below 1"),
    ("{optim: {type: adamw, freeze: [nothing.*]}}", r"freeze: expected a pattern of parameter names"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_one_line_with_the_key(train, said, folder):
    with pytest.raises(RecipeError, match=said):
        run(write(folder, f"{{{START}, task: {TASK}, train: {train}}}"))
