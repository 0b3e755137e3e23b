"""Golden losses: a refactor of model, objective, batches, optimizer or loop reproduces 20 steps.

Bit for bit they are the same on one machine (test_loop), but not between processors, whose matrix products add in another
order: a relative tolerance of 1e-5 on the first steps, which the training itself amplifies, hence 1e-4 on the last. A change
that moves them on purpose regenerates the file: `python -m tests.train.test_golden`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from yanmo.core.console import Console
from yanmo.core.registry import create, names
from yanmo.objectives.base import Context
from yanmo.text.characters import CharacterTokenizer
from yanmo.train.batches import TokenBatches
from yanmo.train.job import Job
from yanmo.train.loop import train
from yanmo.train.records.metrics import read

FILE = Path(__file__).parent.parent / "golden" / "causal_20_steps.json"
TEXTS = ["Call me Ishmael. Some years ago, never mind how long precisely. 🐋 ", "话说天下大势，分久必合，合久必分。周末七国分争。"] * 8
MODELS = {"transformer": {"depth": 2, "width": 64, "heads": 2}, "lstm": {"depth": 1, "width": 64}}
CASES = [f"{model}-{optimizer}" for model in MODELS for optimizer in names("optimizer")]


class Stream:
    def __init__(self, tokenizer):
        self.tokens = np.array([token for text in TEXTS for token in (1, *tokenizer.encode(text))], np.uint16)


def losses(case: str) -> list[float]:
    model, optimizer = case.split("-")
    tokenizer = CharacterTokenizer(min_count=1).train(TEXTS)
    built = create("model", {"type": model, **MODELS[model]}).build(tokenizer, torch.Generator().manual_seed(0), 32)
    objective = create("objective", "causal").bind(Context(tokenizer))
    rates = {"lr": 3e-3} if optimizer == "adamw" else {}
    with tempfile.TemporaryDirectory() as folder:
        train(Job(
            model=built, objective=objective, batches=TokenBatches(Stream(tokenizer), objective, 32, 8, 4, 0),
            optimizer=create("optimizer", {"type": optimizer, **rates}).make(built), schedule=create("schedule", "cosine"),
            steps=20, folder=Path(folder), seed=0, console=Console(quiet=True),
        ))  # fmt: skip
        return [line["loss"] for line in read(Path(folder) / "metrics.jsonl")]


@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_have_the_losses_they_had(case):
    want = json.loads(FILE.read_text())[case]
    found = losses(case)
    assert found[:5] == pytest.approx(want[:5], rel=1e-5)
    assert found == pytest.approx(want, rel=1e-4)
    assert found[-1] < 0.9 * found[0]


if __name__ == "__main__":
    FILE.write_text(json.dumps({case: losses(case) for case in CASES}, indent=1) + "\n")
    sys.stdout.write(f"wrote {FILE.name}\n")
