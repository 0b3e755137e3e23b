"""One small real run, made once: both languages, counted, trained and fine-tuned models, hostile text among the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.execute import execute
from yanmo.core.recipe import parse

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x.png onerror=alert(1)> & \u0007"
SIZES = {"type": "transformer", "depth": 1, "width": 32, "heads": 2}


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def english(i: int) -> str:
    return f"The whale number {i} swam {i * 7} miles to the north, and nobody on the ship saw it again 🐋 that year. " * 3


def chinese(i: int) -> str:
    return f"却说第{i}日，曹操引兵{i * 3}千，夜渡长江，次日天明，众将皆至帐下听令。" * 3


def labelled(start: int, stop: int) -> list[dict]:
    rooms = [("kitchen", "厨房"), ("bedroom", "卧室"), ("hall", "走廊"), ("garage", "车库"), ("office", "书房")]
    rows = []
    for i in range(start, stop):
        en, zh = rooms[i % 5]
        rows += [{"text": f"please turn on light {i} in the {en}", "label": "on", "language": "en"},
                 {"text": f"please switch off lamp {i} in the {en}", "label": "off", "language": "en"},
                 {"text": f"打开{zh}的第{i}盏灯", "label": "on", "language": "zh"},
                 {"text": f"关掉{zh}的第{i}盏灯", "label": "off", "language": "zh"},
                 {"text": f"{HOSTILE} {i} {zh}", "label": "<b>odd</b>", "language": "zh"}]  # fmt: skip
    return rows


def recipe(**evaluate) -> dict:
    task = {"type": "classify", "path": {"train": "data/labels/train.jsonl", "validation": "data/labels/validation.jsonl",
                                         "test": "data/labels/test.jsonl"}}  # fmt: skip
    trained = {"objective": {"type": "causal", "context": 32}, "train": {"steps": 6, "batch_tokens": 256, "validate_every": 2}}
    return {"name": "small", "seed": 0, "stages": [
        {"corpus": {"source": [{"type": "jsonl", "path": "data/en.jsonl", "language": "en", "licence": "CC0-1.0"},
                               {"type": "jsonl", "path": "data/zh.jsonl", "language": "zh"}],
                    "steps": [{"type": "length", "min_chars": 90}, {"type": "exact_dedup"}],
                    "engine": {"type": "local", "workers": 1}, "validation": 0.2}},
        {"tokenizer": {"type": "bpe", "size": 320}},
        {"name": "characters", "tokenizer": {"type": "characters"}},
        {"name": "counted", "pretrain": {"tokenizer": "tokenizer", "model": {"type": "ngram", "order": 3}}},
        {"name": "counted-characters", "pretrain": {"model": {"type": "ngram", "order": 4}}},
        {"name": "trained", "pretrain": {"tokenizer": "tokenizer", "model": SIZES, **trained}},
        {"name": "majority", "finetune": {"model": {"type": "majority"}, "task": task}},
        {"name": "tfidf", "finetune": {"model": {"type": "tfidf"}, "task": task}},
        {"name": "tuned", "finetune": {"model": "trained", "task": task, "train": {"steps": 4, "batch_tokens": 512}}},
        {"evaluate": {"tasks": [{"type": "language_modeling"}, task], **evaluate}},
    ]}  # fmt: skip


def write_data() -> None:
    """Into the working directory."""
    write(Path("data/en.jsonl"), [{"text": english(i)} for i in range(40)] + [{"text": HOSTILE}, {"text": english(3)}])
    write(Path("data/zh.jsonl"), [{"text": chinese(i)} for i in range(40)] + [{"text": "太短"}, {"nothing": HOSTILE}])
    write(Path("data/labels/train.jsonl"), labelled(0, 12))
    write(Path("data/labels/validation.jsonl"), labelled(12, 14))
    write(Path("data/labels/test.jsonl"), [*labelled(14, 20), labelled(0, 1)[0]])  # the last one was seen in training
    Path("data/labels/SOURCE").write_text("title: Lamps\nlicence: Apache-2.0\n", encoding="utf-8")


def make(run: Path, **evaluate) -> Path:
    execute(parse(recipe(**evaluate), Place()), run, console=Console(quiet=True))
    return run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The run directory; its data lie in the folder above."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("small")
        patch.chdir(folder)
        patch.setenv("YANMO_LANG", "en")
        write_data()
        return make(folder / "run")
