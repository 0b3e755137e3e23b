"""The toy task whose optimum is known (always the right sum, in digits and in Chinese numerals), on three seeds; and what a broken
reward makes of the same run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.long import long
from yanmo.core import files
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.data import Row
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.inference.rollouts import generator
from yanmo.models.store import load as open_model
from yanmo.models.store import save
from yanmo.objectives.base import Context
from yanmo.tasks.conversation import answer_ids, prompt_ids
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.numerals import spelled

pytestmark = pytest.mark.slow
SUMS = [(prompt, right, [say(a + b + step) for step in (-1, 1, 2) if a + b + step >= 0])
        for a in range(5) for b in range(5)
        for prompt, right, say in ((f"{a}+{b}=", str(a + b), str), (f"{spelled(a)}加{spelled(b)}等于", spelled(a + b), spelled))]  # fmt: skip
TASK = {"type": "prompts", "path": {"train": "prompts.jsonl", "validation": "prompts.jsonl"}}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model that says the right sum in two of five cases."""
    tokenizer = CharacterTokenizer(min_count=1).train([prompt + "".join([right, *wrong]) for prompt, right, wrong in SUMS])
    part = create("model", {"type": "transformer", "depth": 2, "width": 64, "heads": 2})
    model = part.build(tokenizer, torch.Generator().manual_seed(0), 24)
    objective = create("objective", "causal").bind(Context(tokenizer))
    rows, weights = [], []
    for prompt, right, wrong in SUMS:
        begun = prompt_ids(prompt, tokenizer)
        for answer, weight in ((right, 0.4), *((each, 0.6 / len(wrong)) for each in wrong)):
            written = answer_ids(prompt, answer, tokenizer)
            rows.append(Row([*begun, *written], [False] * len(begun) + [True] * len(written)))
            weights.append(weight)
    batch = objective.collate(rows, torch.Generator())
    batch.weights *= torch.tensor(weights)[:, None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    for _ in range(400):
        loss = objective.loss(model, batch)
        (loss.total / loss.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
    place = tmp_path_factory.mktemp("sums") / "base"
    save(place, model, tokenizer)
    return place


def write(name: str, rows: list[dict]) -> None:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def align(base: Path, seed: int, **settings) -> Path:
    write("prompts.jsonl", [{"prompt": prompt, "answer": right} for prompt, right, _ in SUMS])
    recipe = parse({"name": "r", "seed": seed, "stages": [{"align": {"model": str(base), **settings}}]}, Place())
    execute(recipe, "runs/r", console=Console(quiet=True))
    return Path("runs/r/align")


def verified(folder: Path) -> float:
    """The share of right sums, four draws of each prompt."""
    loaded = open_model(folder)
    prompts = [prompt_ids(prompt, loaded.tokenizer) for prompt, _, _ in SUMS] * 4
    found = generator(loaded.tokenizer)(loaded.model, prompts, list(range(len(prompts))), max_tokens=6)
    return sum(one.text == right for one, (_, right, _) in zip(found, SUMS * 4)) / len(found)


TRAIN = {"steps": 400, "validate_every": 100, "optim": {"type": "adamw", "lr": 0.0015, "weight_decay": 0}}
KL = 0.05  # what brings a prompt back whose right answer is no longer drawn: without it, one wrong answer may stay for good
ROLL = {"group": 16, "prompts": 25, "max_tokens": 4}  # many answers: with few, a prompt's wrong answer is soon all that is drawn
LEARNERS = {
    "grpo": {"objective": {"type": "grpo", "kl": KL, **ROLL}, "task": TASK, "reward": {"type": "number"}, "train": TRAIN},
    "ppo": {"objective": {"type": "ppo", "kl": KL, "repeats": 2, **ROLL}, "task": TASK, "train": TRAIN},
}  # fmt: skip


@long
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_the_optimum_is_reached(name, seed, base, folder):
    assert 0.25 < verified(base) < 0.55
    made = align(base, seed, **LEARNERS[name])
    assert verified(made) > 0.95
    assert files.read_json(made / "training.json").get("flags", []) == []


def near(example, answer):
    """Rewards what is wrong by one."""
    return float(answer != example["answer"])


@long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_run_with_a_broken_reward_is_flagged(seed, base, folder):
    settings = {"reward": {"type": "function", "call": f"{__name__}:near"}, "train": {**TRAIN, "steps": 260, "validate_every": 65}}
    made = align(base, seed, **{**LEARNERS["grpo"], **settings})
    assert "hacked" in [flag["name"] for flag in files.read_json(made / "training.json")["flags"]]
    assert verified(made) < 0.2
