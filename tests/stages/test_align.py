"""The alignment stage: preferences, rewards, teachers; the same bytes again and after a kill; broken rewards are flagged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from yanmo.core import files
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.data import Row
from yanmo.core.errors import DataError, RequestError, TrainingError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.store import load as open_model
from yanmo.models.store import save
from yanmo.objectives.base import Context
from yanmo.tasks.conversation import answer_ids, prompt_ids
from yanmo.text.characters import CharacterTokenizer
from yanmo.train.records.metrics import read

PROMPTS = ["a?", "b 🐋?", "墨？", "砚 e\u0301？"]
ARMS = "xyz文"
SMALL = {"type": "transformer", "depth": 1, "width": 32, "heads": 2, "tie": False}
TRAIN = {"steps": 12, "validate_every": 4, "optim": {"type": "adamw", "lr": 0.01}}
GRPO = {"type": "grpo", "group": 6, "prompts": 4, "max_tokens": 2}
TASK = {"type": "prompts", "path": {"train": "prompts.jsonl", "validation": "held.jsonl"}}


def write(name: str, rows: list[dict]) -> None:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model that answers every prompt by one of the arms, the right ones not more often than others."""
    tokenizer = CharacterTokenizer(min_count=1).train([*PROMPTS, ARMS])
    model = create("model", SMALL).build(tokenizer, torch.Generator().manual_seed(1), 32)
    objective = create("objective", "causal").bind(Context(tokenizer))
    rows = [Row([*prompt_ids(prompt * k, tokenizer), *answer_ids(prompt, arm, tokenizer)]) for prompt in PROMPTS for k in (1, 2, 3) for arm in ARMS]
    batch = objective.collate(rows, torch.Generator())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(40):
        loss = objective.loss(model, batch)
        (loss.total / loss.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
    save(tmp_path_factory.mktemp("base") / "base", model, tokenizer)
    return next(tmp_path_factory.getbasetemp().glob("base*/base"))


@pytest.fixture
def place(folder, base):
    """The model, prompts whose right answer is 'x' in English and '文' in Chinese, and pairs of answers."""
    Path("base").symlink_to(base)
    right = {prompt: "x" if prompt.isascii() or "🐋" in prompt else "文" for prompt in PROMPTS}
    write("prompts.jsonl", [{"prompt": prompt * k, "answer": right[prompt]} for prompt in PROMPTS for k in (1, 2)])
    write("held.jsonl", [{"prompt": prompt * 3, "answer": right[prompt]} for prompt in PROMPTS * 4])
    write("pairs.jsonl", [{"prompt": prompt * k, "chosen": right[prompt], "rejected": other} for prompt in PROMPTS for k in (1, 2)
                          for other in "yz"])  # fmt: skip
    write("chat.jsonl", [{"prompt": [{"role": "user", "content": prompt}], "chosen": "x", "rejected": "文y"} for prompt in PROMPTS])
    return folder


def align(directory="runs/r", console=None, name="align", before=(), **settings) -> Path:
    settings = {"model": "base", "train": TRAIN, **settings}
    recipe = parse({"name": "r", "seed": 1, "stages": [*before, {"name": name, "align": settings}]}, Place())
    execute(recipe, directory, console=console or Console(quiet=True))
    return Path(directory) / name


def told(made: Path) -> dict:
    return files.read_json(made / "training.json")


PAIRS = {"type": "preferences", "path": "pairs.jsonl", "validation": 0.25}


@pytest.mark.parametrize("form", ["sigmoid", "ipo", "kto"])
def test_preferences_are_learned(form, place):
    made = align(objective={"type": "dpo", "form": form, "beta": 0.3}, task=PAIRS, train={**TRAIN, "steps": 24})
    validations = told(made)["validations"]
    assert validations[-1]["loss"] < validations[0]["loss"]
    assert validations[-1]["accuracy"] > 0.7
    opened = open_model(made)
    assert opened.generates
    assert not opened.labels


def test_messages_are_rendered_by_the_template(place):
    made = align(objective={"type": "dpo"}, task={"type": "preferences", "path": "chat.jsonl", "validation": 0})
    line = [line for line in read(made / "metrics.jsonl") if "accuracy" in line][-1]
    assert line["accuracy"] == 1.0


def test_two_runs_have_the_same_bytes(place):
    for settings in ({"objective": {"type": "dpo"}, "task": PAIRS}, {"objective": GRPO, "task": TASK}):
        name = settings["objective"]["type"]
        first, second = (align(f"runs/{name}{i}", **settings) for i in range(2))
        for part in ("model/model.safetensors", "training.json", "plan.json"):
            assert (first / part).read_bytes() == (second / part).read_bytes()


@pytest.mark.parametrize("objective", [{**GRPO, "repeats": 3}, {"type": "ppo", "group": 4, "prompts": 4, "max_tokens": 2, "repeats": 4}])
def test_a_run_that_was_killed_goes_on_with_the_same_answers(objective, place, monkeypatch):
    """Killed between two steps on the same answers: the run ends with the bytes of one that was not."""
    from yanmo.train import loop

    settings = {"objective": objective, "task": TASK, "train": {**TRAIN, "steps": 10, "validate_every": 5, "checkpoint_every": 5}}
    whole = align("runs/whole", **settings)
    plain = loop.update

    def dies(job, forward, micro, rng, aside=None, room=None, step=0):
        if step == 6:
            raise KeyboardInterrupt
        return plain(job, forward, micro, rng, aside, room, step)

    monkeypatch.setattr(loop, "update", dies)
    with pytest.raises(KeyboardInterrupt):
        align("runs/killed", **settings)
    monkeypatch.setattr(loop, "update", plain)
    again = align("runs/killed", **settings)
    assert (again / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    assert not (again / "rollouts").exists()


@pytest.mark.parametrize("objective", [GRPO, {**GRPO, "type": "ppo", "repeats": 2}, {**GRPO, "type": "rejection"}])
def test_verified_answers_get_better(objective, place):
    made = align(objective=objective, task=TASK, train={**TRAIN, "steps": 40, "validate_every": 10, "optim": {"type": "adamw", "lr": 0.005}})
    about = told(made)
    assert about["flags"] == []
    assert about["before"]["verified"] < 0.6
    assert about["validations"][-1]["verified"] > about["before"]["verified"] + 0.2
    lines = [line for line in read(made / "metrics.jsonl") if "reward" in line]
    assert {"reward", "length", "cut", "flat"} <= lines[0].keys()
    assert open_model(made).generates


def test_a_reward_model_judges(place):
    scored = {"name": "judge", "align": {"model": "base", "objective": {"type": "reward"}, "task": PAIRS, "train": {**TRAIN, "steps": 30}}}
    made = align(before=[scored], objective=GRPO, task=TASK, judge="judge", reward=[{"type": "judge"}, {"type": "length", "most": 3, "weight": 0.1}],
                 train={**TRAIN, "steps": 30})  # fmt: skip
    opened = open_model(made.parent / "judge")
    assert opened.labels == ["reward"]
    tokens = [opened.tokenizer.bos_id, *opened.tokenizer.encode("a?x"), opened.tokenizer.eos_id]
    worse = [opened.tokenizer.bos_id, *opened.tokenizer.encode("a?y"), opened.tokenizer.eos_id]
    with torch.no_grad():
        assert float(opened.model(Inputs(torch.tensor([tokens])))) > float(opened.model(Inputs(torch.tensor([worse]))))
    lines = [line["reward"] for line in read(made / "metrics.jsonl") if "reward" in line]
    assert sum(lines[-5:]) > sum(lines[:5])


def test_a_teacher_teaches(place):
    tokenizer = open_model("base").tokenizer
    save(Path("teacher"), create("model", {**SMALL, "width": 48}).build(tokenizer, torch.Generator().manual_seed(9), 32), tokenizer)
    made = align(objective={"type": "distill"}, task={**TASK, "path": "prompts.jsonl"}, reference="teacher", train={**TRAIN, "steps": 20})
    validations = told(made)["validations"]
    assert validations[-1]["kl"] < validations[0]["kl"]


# ---------------------------------------------------------------------------------------------- broken rewards


def constant(example, answer):
    return 0.5


def inverted(example, answer):
    return 0.0 if answer == example["answer"] else 1.0


def nan(example, answer):
    return float("nan") if example["prompt"].startswith("墨") else 0.0


def raising(example, answer):
    raise ZeroDivisionError("by design")


def function(name: str) -> dict:
    return {"type": "function", "call": f"{__name__}:{name}"}


def test_a_constant_reward_is_flagged(place, capsys):
    made = align(console=Console(), objective=GRPO, task=TASK, reward=function("constant"))
    assert [flag["name"] for flag in told(made)["flags"]] == ["constant"]
    said = [line for line in capsys.readouterr().err.splitlines() if "nothing can be learned" in line]
    assert len(said) == 1
    assert "to the prompt '" in said[0]


def test_an_inverted_reward_is_flagged(place, capsys):
    train = {**TRAIN, "steps": 40, "validate_every": 20, "optim": {"type": "adamw", "lr": 0.02}}
    made = align("runs/good", objective={**GRPO, "kl": 0.0}, task=TASK, train=train)
    assert told(made)["flags"] == []
    made = align("runs/bad", console=Console(), model=str(made), objective={**GRPO, "kl": 0.0}, task=TASK, reward=function("inverted"), train=train)
    assert "hacked" in [flag["name"] for flag in told(made)["flags"]]
    assert "held-out answers are verified to be worse" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "said"), [("nan", "nan for the prompt '墨？"), ("raising", "ZeroDivisionError: by design for the prompt '")])
def test_a_reward_that_is_no_number_ends_the_training(name, said, place):
    with pytest.raises(TrainingError) as caught:
        align(objective=GRPO, task=TASK, reward=function(name))
    assert said in str(caught.value)
    assert "jsonl:" in str(caught.value)


# ---------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize(("settings", "message"), [
    ({"objective": {"type": "causal"}, "task": PAIRS}, "align.objective: expected one of dpo, reward, grpo, ppo, rejection, distill"),
    ({"objective": {"type": "dpo"}, "task": TASK}, "align.task: expected one of preferences"),
    ({"objective": GRPO, "task": PAIRS}, "align.task: expected one of prompts"),
    ({"objective": {"type": "dpo"}, "task": PAIRS, "reward": {"type": "exact"}}, "align.reward: expected nothing"),
    ({"objective": {**GRPO, "kl": 0}, "task": TASK, "reference": "base"}, "align.reference: expected nothing"),
    ({"objective": {"type": "distill"}, "task": PAIRS}, "align.reference: expected a teacher"),
    ({"objective": GRPO, "task": TASK, "reward": {"type": "judge"}}, "align.judge: expected a 'judge' and"),
    ({"objective": GRPO, "task": TASK, "judge": "base"}, "align.judge: expected a 'judge' and"),
    ({"objective": GRPO, "task": TASK, "judge": "base", "reward": {"type": "judge"}}, "align.judge: expected a reward model"),
    ({"objective": GRPO, "task": TASK, "train": {"steps": 2, "batch_tokens": 64}}, "align.train.batch_tokens: expected nothing"),
    ({"objective": {**GRPO, "max_tokens": 32}, "task": TASK}, "fewer than the model's context of 32, got 32"),
])  # fmt: skip
def test_requests_that_make_no_sense(settings, message, place):
    with pytest.raises(RequestError) as caught:
        align(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(("row", "message"), [
    ({"prompt": "a", "chosen": "b"}, "line 2|pairs.jsonl:2: field 'rejected' is missing"),
    ({"prompt": "a", "chosen": "b", "rejected": "b"}, "expected two different answers"),
    ({"prompt": "a", "chosen": "", "rejected": "b"}, "some text, got an empty one"),
    ({"prompt": [{"role": "usr", "content": "a"}], "chosen": "b", "rejected": "c"}, r"pairs.jsonl:2: prompt\[0\].role: expected one of .*did you mean 'user'"),
    ({"prompt": 3, "chosen": "b", "rejected": "c"}, "a text or a list of messages, got 3"),
    ({"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
      "rejected": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]}, "the messages of 'chosen' but for the last one"),
])  # fmt: skip
def test_preferences_that_are_not_sound(row, message, place):
    write("pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}, row])
    with pytest.raises(DataError, match=message):
        align(objective={"type": "dpo"}, task=PAIRS)


def test_whole_conversations_are_divided_where_they_differ(place):
    begun = [{"role": "user", "content": "a?"}]
    write("pairs.jsonl", [{"chosen": [*begun, {"role": "assistant", "content": arm}], "rejected": [*begun, {"role": "assistant", "content": "z"}]}
                          for arm in "xy"])  # fmt: skip
    task = create("task", {"type": "preferences", "path": "pairs.jsonl", "validation": 0})
    (first, _) = task.load("train")
    assert first.fields["prompt"] == begun
    assert (first.fields["chosen"], first.fields["rejected"]) == ("x", "z")


def test_pairs_that_contradict_each_other_are_said(place):
    write("pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": "c", "rejected": "b"}])
    concerns = create("task", {"type": "preferences", "path": "pairs.jsonl", "validation": 0}).check()
    assert "2 of 2 pairs also stand there the other way round" in str(concerns[0])


def test_check_foresees_an_alignment(place):
    from yanmo.stages.check import check

    Path("r.yaml").write_text("name: r\nstages:\n  - align: {model: base, objective: {type: grpo, group: 4, prompts: 2, max_tokens: 2}, "
                              "task: {type: prompts, path: prompts.jsonl}, train: {steps: 3}}\n", encoding="utf-8")
    report = check("r.yaml")
    assert report["ok"], report["problems"]
    assert report["trainings"]["align"]["memory"]["how"] == "rehearsed"
    assert report["trainings"]["align"]["steps"] == 3
