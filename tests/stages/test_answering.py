"""Twenty questions in two languages: a tiny encoder learns all of them, is saved, opened, and answers the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.evaluate.heads.span import SpanHead
from yanmo.inference.model import Model

NAMES = ["Ada", "Tom", "Eva", "Max", "Ida"]
ROWS = []
for i, name in enumerate(NAMES):
    en = f"In {1900 + 11 * i} {name} found a stone 🪨 in room {i}. It is very old and cafe\u0301 brown."
    zh = f"第{i}方砚台：{1900 + 13 * i}年{'赵钱孙李周'[i]}先生在{'东南西北中'[i]}城发现了它，至今完好。"
    ROWS += [{"question": "Who found it?", "context": en, "answers": [name]}, {"question": "When?", "context": en, "answers": [str(1900 + 11 * i)]},
             {"question": "谁发现的？", "context": zh, "answers": ["赵钱孙李周"[i] + "先生"]},
             {"question": "Who broke it?", "context": en, "answers": []}]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("size", ["bert"])
def test_twenty_questions_are_learned_saved_and_answered_the_same(folder, size):
    Path("qa.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    Path("text.jsonl").write_text("".join(json.dumps({"text": f"{row['question']} {row['context']}"}, ensure_ascii=False) + "\n" for row in ROWS),
                                  encoding="utf-8")  # fmt: skip
    task = {"type": "qa", "path": {"train": "qa.jsonl"}, "validation": 0, "test": 0, "window": 64, "overlap": 16}
    asked = {"type": "qa", "path": {"test": "qa.jsonl"}, "window": 64, "overlap": 16}
    tokenizer = {"type": "characters", "min_count": 1, "special": ["[CLS]", "[SEP]"]}
    train = {"steps": 160, "batch_tokens": 1500, "optim": {"type": "adamw", "lr": 3e-3}}
    recipe = {"name": "q", "seed": 0, "stages": [
        {"corpus": {"source": {"type": "jsonl", "path": "text.jsonl"}, "engine": {"type": "local", "workers": 1}, "validation": 0.1}},
        {"tokenizer": tokenizer},
        {"name": "reader", "finetune": {"model": {"type": size, "depth": 2, "width": 64, "heads": 4}, "task": task, "train": train}},
        {"name": "retrieval", "finetune": {"model": {"type": "retrieval"}, "task": task}},
        {"evaluate": {"models": ["retrieval", "reader"], "tasks": [asked]}},
    ]}  # fmt: skip
    execute(parse(recipe, Place("", "q.yaml", {})), "run", console=Console(quiet=True))
    values = {(r["model"], r["metric"]): r["value"] for r in json.loads(Path("run/evaluate/results.json").read_text())}
    assert values["reader", "f1"] == 1.0
    assert values["reader", "no_answer_f1"] == 1.0
    assert values["retrieval", "f1"] < 1.0
    model = Model.open("run/reader")
    again = [model.answer(row["question"], row["context"]) for row in ROWS]
    assert [answer.answer for answer in again] == [(row["answers"] or [""])[0] for row in ROWS]
    lines = [json.loads(line) for line in (Path("run/evaluate/answers/reader") / "qa.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["predicted"] for line in lines] == [answer.answer for answer in again]
    padded = [SpanHead().answer(Model.open("run/reader"), _task(asked), [example])[0]["predicted"] for example in _task(asked).load("test")]
    assert padded == [line["predicted"] for line in lines]


def _task(settings: dict):
    from yanmo.core.registry import create

    return create("task", settings)
