"""The range test of a recipe's stage: on its real rows, and nothing is left behind."""

import json
from pathlib import Path

import pytest

from yanmo.cli import main
from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.stages.rates import lines, rates

from .test_finetune import TASK, write

QUIET = Console(quiet=True)
MODEL = "{type: transformer, depth: 2, width: 32, heads: 2}"
PRETRAIN = f"  - pretrain: {{model: {MODEL}, objective: {{type: causal, context: 48}}, train: {{steps: 20, batch_tokens: 512}}}}"
FINETUNE = f"{{task: {TASK}, train: {{epochs: 2}}}}"


def listing(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_stage_is_tried_and_nothing_is_written(stage, folder):
    recipe = write(folder, FINETUNE, PRETRAIN)
    before = listing(folder)
    found = rates(str(recipe), None, stage, console=QUIET)
    assert len(found.points) >= 10
    assert found.lr == pytest.approx(0.02 if stage == "pretrain" else 1e-3)
    shown = "\n".join(lines(found))
    assert f"{found.lr:.3g}" in shown
    assert listing(folder) == before
    assert not Path("runs").exists()


def test_a_finished_run_gives_what_the_stage_takes_and_stays_as_it_is(folder):
    recipe = write(folder, FINETUNE, PRETRAIN)
    execute(load(recipe), "runs/r", console=QUIET)
    before = listing(folder / "runs")
    found = rates(str(recipe), ["pretrain.train.optim={type: adamw, lr: 0.01}"], "pretrain", console=QUIET)
    assert found.lr == 0.01
    assert {name: content for name, content in listing(folder / "runs").items() if name in before} == before
    assert rates(str(recipe), None, "pretrain", console=QUIET).plain() == rates(str(recipe), None, "pretrain", console=QUIET).plain()


def test_the_verb(folder, capsys):
    recipe = write(folder, FINETUNE, PRETRAIN)
    assert main(["check", str(recipe), "--lr-range", "finetune", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lr"] == pytest.approx(1e-3)
    assert {"factor", "lr", "loss", "smoothed"} == set(found["points"][0])
    assert main(["check", str(recipe), "--lr-range", "corpus"]) == 2
    assert "a stage that trains by gradient, got corpus" in capsys.readouterr().err


def test_a_stage_that_is_not_there_or_does_not_train(folder):
    recipe = write(folder, FINETUNE, PRETRAIN)
    with pytest.raises(RequestError, match=r"no stage 'pretrian' in the recipe.*did you mean 'pretrain'"):
        rates(str(recipe), None, "pretrian", console=QUIET)
    with pytest.raises(RequestError, match="a stage that trains by gradient, got tokenizer"):
        rates(str(recipe), None, "tokenizer", console=QUIET)
