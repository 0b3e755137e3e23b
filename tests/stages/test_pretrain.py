"""The pretraining stage in a run: every kind of model, the same bytes twice, kills, and what can be wrong."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.long import long
from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import DataError, RecipeError, RequestError, RunError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.store import load as open_model

TEXTS = [
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse. 🐋",
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚汉分争，又并入于汉。",
    "It is a way I have of driving off the spleen — café, e\u0301te\u0301 — and regulating the circulation.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。模型 model 训练 training 👩‍🚀.",
]
SMALL = {"transformer": "{type: transformer, depth: 2, width: 32, heads: 2}", "lstm": "{type: lstm, depth: 1, width: 32}",
         "ngram": "{type: ngram, order: 3}"}  # fmt: skip
TRAIN = "{steps: 9, batch_tokens: 256, validate_every: 3}"


def write(folder: Path, pretrain: str, budget: str = "", validation: float = 0.3) -> Path:
    rows = [{"text": f"{text} {i}"} for i in range(12) for text in TEXTS]
    (folder / "data.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    recipe = f"""
name: r
seed: 1
{budget}
stages:
  - corpus: {{source: {{type: jsonl, path: data.jsonl}}, validation: {validation}}}
  - tokenizer: {{type: characters}}
  - pretrain: {pretrain}
"""
    (folder / "r.yaml").write_text(recipe, encoding="utf-8")
    return folder / "r.yaml"


def run(recipe: Path, *overrides: str, directory="runs/r", **options) -> Path:
    execute(load(recipe, list(overrides)), directory, console=Console(quiet=True), **options)
    return Path(directory) / "pretrain"


@pytest.mark.parametrize("kind", SMALL)
def test_each_kind_of_model_is_made_and_knows_its_text(kind, folder):
    train = "" if kind == "ngram" else ", train: {steps: 60, batch_tokens: 512}, objective: {type: causal, context: 64}"
    made = run(write(folder, f"{{model: {SMALL[kind]}{train}}}"))
    opened = open_model(made)
    assert opened.generates
    tokens = torch.tensor([[1, *opened.tokenizer.encode(TEXTS[0])][:50]])
    surprise = -opened.model.logprobs(Inputs(tokens[:, :-1]), tokens[:, 1:]).mean()
    assert surprise < 0.75 * torch.log(torch.tensor(float(opened.tokenizer.size)))
    manifest = files.read_json(made / "manifest.json")
    assert set(manifest["outputs"]) == ({"model"} if kind == "ngram" else {"model", "training"})  # nothing with timings


@pytest.mark.parametrize("kind", [pytest.param("lstm", marks=pytest.mark.slow), "ngram"])
def test_sources_are_mixed_as_they_weigh_or_as_the_recipe_says(kind, folder):
    recipe = write(folder, f"{{model: {SMALL[kind]}, train: {TRAIN}}}")
    (folder / "other.jsonl").write_text("".join(json.dumps({"text": f"another source of its own, line {i}"}) + "\n" for i in range(30)))
    sources = "{type: jsonl, path: data.jsonl, name: a}", "{type: jsonl, path: other.jsonl, name: b, weight: 2}"
    mixed = f"corpus.source=[{', '.join(sources)}]"
    plain = run(recipe, mixed.replace(", weight: 2", ""), directory="runs/plain")
    made = [run(recipe, mixed, *more, directory=f"runs/{i}") for i, more in enumerate([(), (), ("pretrain.mixture={weights: {a: 1}}",)])]
    weights = [files.sha256(next((folder / "model").glob("*.safetensors"))) for folder in (plain, *made)]
    assert weights[1] == weights[2], "the same twice"
    assert len(set(weights)) == 3, "and not the same as with other shares"
    if kind == "lstm":
        assert files.read_json(made[0] / "training.json")["packing"]["dropped"] == 0
    with pytest.raises(RequestError, match="no source 'c'"):
        run(recipe, mixed, "pretrain.mixture={weights: {c: 1}}", directory="runs/wrong")


def test_two_runs_of_a_recipe_with_steps_have_the_same_bytes(folder):
    recipe = write(folder, f"{{model: {SMALL['transformer']}, objective: {{type: causal, context: 32}}, train: {TRAIN}}}")
    first, second = run(recipe, directory="runs/a"), run(recipe, directory="runs/b")
    for name in ("model/model.safetensors", "model/config.json", "training.json", "plan.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    other = run(recipe, "seed=2", directory="runs/c")
    assert (first / "model/model.safetensors").read_bytes() != (other / "model/model.safetensors").read_bytes()


def test_training_json_says_what_was_done_without_timings(folder):
    made = run(write(folder, f"{{model: {SMALL['transformer']}, objective: {{type: causal, context: 32}}, train: {TRAIN}}}"))
    told = files.read_json(made / "training.json")
    assert (told["steps"], told["planned_steps"], told["tokens"], told["stopped_early"]) == (9, 9, 9 * 256, False)
    assert [v["step"] for v in told["validations"]] == [3, 6, 9]
    assert all(v["bits_per_byte"] > 0 for v in told["validations"])
    assert told["best_step"] == min(told["validations"], key=lambda v: v["bits_per_byte"])["step"]
    assert not any("second" in name for name in json.dumps(told).split('"'))


def test_the_best_weights_are_in_the_model(folder):
    """With a learning rate that ruins the model at the end, the model directory still holds the best one."""
    recipe = write(folder, "{model: " + SMALL["transformer"] + ", objective: {type: causal, context: 32}, train: {steps: 12, "
                   "batch_tokens: 256, validate_every: 2, optim: {type: adamw, lr: 3.0}, schedule: {type: constant, warmup: 11}}}")  # fmt: skip
    made = run(recipe, force=True)
    told = files.read_json(made / "training.json")
    assert told["best_step"] < 12
    from safetensors.torch import load_file

    best = load_file(made / "checkpoints" / f"step-{told['best_step']:08d}" / "model.safetensors")
    model = open_model(made).model
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in best.items())


def test_keep_and_checkpoint_every_do_not_change_what_is_made(folder):
    recipe = write(folder, f"{{model: {SMALL['lstm']}, objective: {{type: causal, context: 32}}, train: {TRAIN}}}")
    first = run(recipe)
    stages = execute(load(recipe, ["pretrain.train.keep=5", "pretrain.train.checkpoint_every=2"]), "runs/r", console=Console(quiet=True))
    assert stages["stages"]["pretrain"] == "skipped"
    with pytest.raises(RunError, match=r"train\.clip: 1\.0 → 2"):
        run(recipe, "pretrain.train.clip=2.0")
    again = run(recipe, "pretrain.train.checkpoint_every=2", directory="runs/b")
    assert (first / "model/model.safetensors").read_bytes() == (again / "model/model.safetensors").read_bytes()


def test_a_budget_plans_is_kept_and_is_read_back(folder):
    recipe = write(folder, "{objective: {type: causal, context: 32}}", budget="budget: {minutes: 0.12}")
    started = time.monotonic()
    made = run(recipe)
    assert time.monotonic() - started < 60
    plan = files.read_json(made / "plan.json")
    assert plan["measured"]
    assert plan["minutes"] <= 0.12
    assert plan["steps"] >= 1
    before = (made / "model/model.safetensors").read_bytes()
    (made / "manifest.json").unlink()  # as if killed at the very end: the plan is read back, nothing is measured anew
    run(recipe)
    assert files.read_json(made / "plan.json") == plan
    assert (made / "model/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("pretrain", "error", "message"),
    [
        ("{model: {type: transformer, depth: 1, context: 16}, objective: {type: causal, context: 32}}", RequestError,
         r"pretrain.objective.context: expected at most the model's 16, got 32"),
        ("{train: {optim: {type: muon, lr: -0.1}}}", RecipeError, r"pretrain.train.optim.lr: expected a number above 0"),
        ("{train: {steps: 2, epochs: 1}}", RecipeError, r"pretrain.train: expected one of steps, minutes, joules, tokens and epochs"),
        ("{model: {type: tfidf}}", RequestError, r"pretrain.model: expected a language model, got tfidf - 'tfidf' labels texts"),
        ("{model: {type: transformer, depth: 2, heads: 5}}", RecipeError, r"'heads' that divide the width"),
        ("{train: {steps: 5}, objective: {type: causall}}", RecipeError, r"did you mean 'causal'"),
        ("{train: {steps: 5}, objective: {type: grpo}}", RequestError,
         r"pretrain.objective: expected one of causal, masked, span_corruption, denoise, permuted, prefix, got grpo - 'grpo' belongs in the stage 'align'"),
        ("{train: {steps: 5}, objective: distill}", RequestError, r"got distill - 'distill' belongs in the stage 'align'"),
        ("{train: {steps: 5}, objective: supervised}", RequestError, r"got supervised - 'supervised' belongs in the stage 'finetune'"),
        ("{train: {steps: 5}, objective: tagging}", RequestError, r"got tagging - 'tagging' belongs in the stage 'finetune'"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense(pretrain, error, message, folder):
    with pytest.raises(error, match=message) as raised:
        run(write(folder, pretrain))
    assert raised.value.exit_status == 2


def test_no_validation_text(folder, capsys):
    small = "model: {type: transformer, depth: 1, width: 32, heads: 1}, objective: {type: causal, context: 32}"
    recipe = write(folder, f"{{{small}, train: {{steps: 2, patience: 1}}}}", validation=0.0)
    with pytest.raises(DataError, match=r"expected text in the validation split, got none - raise the corpus's 'validation'"):
        run(recipe)
    recipe = write(folder, f"{{{small}, train: {{steps: 2}}}}", validation=0.0)
    execute(load(recipe), "runs/b", console=Console())
    assert "without it the last weights are kept, good or bad" in capsys.readouterr().err
    assert files.read_json(Path("runs/b/pretrain/training.json"))["validations"] == []


def test_weights_of_a_budget():
    def weight(**settings):
        return create("stage", {"type": "pretrain", **settings}).weight

    assert weight(model="transformer") > weight(model="lstm") > weight(model="ngram") == 0
    assert weight(train={"steps": 5}) == weight(train={"epochs": 1}) == 0
    assert weight(train={"minutes": 5}) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("optimizer", ["muon", pytest.param("adamw", marks=long)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(optimizer, folder):
    recipe = write(folder, f"{{model: {SMALL['transformer']}, objective: {{type: causal, context: 32}}, "
                           f"train: {{optim: {optimizer}, steps: 300, batch_tokens: 256, validate_every: 40, "
                           "checkpoint_every: 7, threads: 1}}")  # fmt: skip
    whole = run(recipe, directory="runs/whole")
    execute(load(recipe), "runs/killed", until="tokenizer", console=Console(quiet=True))
    code = ("import sys; from yanmo.core.recipe import load; from yanmo.core.execute import execute; from yanmo.core.console import Console\n"
            "execute(load(sys.argv[1]), 'runs/killed', console=Console(quiet=True))")  # fmt: skip
    command = [sys.executable, "-c", code, str(recipe)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    rng, kills, seen = random.Random(4), 0, set()
    for _ in range(12):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
        before = newest(Path("runs/killed/pretrain"))
        deadline = time.monotonic() + 60
        while process.poll() is None and newest(Path("runs/killed/pretrain")) <= before and time.monotonic() < deadline:
            time.sleep(0.01)  # wait for some progress of its own
        time.sleep(rng.uniform(0.0, 0.5))
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr.read().decode()
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        kills += 1
        seen.add(newest(Path("runs/killed/pretrain")))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert kills >= 3
    assert len(seen) >= 3, seen
    for name in ("model/model.safetensors", "training.json"):
        assert (whole / name).read_bytes() == (Path("runs/killed/pretrain") / name).read_bytes(), name
    assert not list(Path("runs/killed").rglob(".tmp-*"))


def newest(folder: Path) -> int:
    return max((int(p.name.split("-")[1]) for p in (folder / "checkpoints").glob("step-*")), default=-1)
