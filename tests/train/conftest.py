"""A small real corpus as token shards: English, Chinese, mixed scripts, combining marks and emoji."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from yanmo.core.console import Console
from yanmo.core.registry import create
from yanmo.corpus.tokens import TokenShards
from yanmo.objectives.base import Context
from yanmo.text.characters import CharacterTokenizer
from yanmo.train.batches import TokenBatches
from yanmo.train.job import Job
from yanmo.train.machine.gauge import TIMED
from yanmo.train.records.metrics import read

TEXTS = [
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse.",
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚汉分争，又并入于汉。",
    "It is a way I have of driving off the spleen 🐋 and regulating the circulation.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "Café, naïve, e\u0301te\u0301 — 模型 model 训练 training 👩‍🚀.",
] * 3
SMALL = {"transformer": {"depth": 2, "width": 32, "heads": 2}, "lstm": {"depth": 1, "width": 32}}
CONTEXT = 24


@pytest.fixture(scope="session")
def tokenizer():
    return CharacterTokenizer(min_count=1).train(TEXTS)


@pytest.fixture(scope="session")
def shards(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    count = len(TEXTS)
    rows = {"id": [f"d{i}" for i in range(count)], "text": TEXTS, "split": ["train"] * (count - 3) + ["validation"] * 3,
            "source": ["s"] * count, "language": ["en"] * count}  # fmt: skip
    (folder / "documents").mkdir()
    parquet.write_table(pa.table(rows), folder / "documents" / "0.parquet")
    return TokenShards.build(folder, tokenizer, folder / "tokens", Console(quiet=True))


@pytest.fixture(scope="session")
def masked():
    """A tokenizer with a mask."""
    return create("tokenizer", {"type": "characters", "min_count": 1, "special": ["<mask>"]}).train(TEXTS)


@pytest.fixture
def job(shards, tokenizer, tmp_path):
    """Makes a Job: the same one for the same settings, in a folder of its own."""
    return maker(shards, tokenizer, tmp_path)


@pytest.fixture(scope="session")
def job_of_session(shards, tokenizer, tmp_path_factory):
    """The same for tests that make many, and none that is trained."""
    return maker(shards, tokenizer, tmp_path_factory.mktemp("jobs"))


def maker(shards, tokenizer, folder):
    def make(name="a", model="transformer", optimizer=None, steps=8, rows=8, micro=4, **settings):
        part = create("model", {"type": model, **SMALL[model]})
        built = part.build(tokenizer, torch.Generator().manual_seed(1), CONTEXT)
        objective = create("objective", "causal").bind(Context(tokenizer))
        chosen = create("optimizer", optimizer or {"type": "adamw", "lr": 3e-3})
        return Job(
            model=built, objective=objective, batches=TokenBatches(shards.split("train"), objective, CONTEXT, rows, micro, 3),
            optimizer=chosen.make(built), schedule=create("schedule", "wsd"), steps=steps, folder=folder / name, seed=5,
            console=Console(quiet=True), **settings,
        )  # fmt: skip

    return make


@pytest.fixture
def weights():
    """The bytes of a model's parameters, by name."""
    return lambda model: {name: value.detach().clone() for name, value in model.state_dict().items()}


def exact(folder):
    """The lines of a training's metrics.jsonl without what the step cost: time, memory, energy."""
    return [{key: value for key, value in line.items() if key not in TIMED} for line in read(folder / "metrics.jsonl")]
