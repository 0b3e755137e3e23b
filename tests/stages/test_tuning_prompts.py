"""Prompts with answers: their solutions are learned by heart from nothing, and verified; the nearest prompt's answer and the
commonest stand beside, in English and Chinese."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core import files
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.errors import DataError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.text.characters import CharacterTokenizer

ROWS = [{"prompt": "2 🍎 and 3?", "solution": "2+3=5. Answer: 5", "answer": "5", "language": "en"},
        {"prompt": "4个和3个？", "solution": "4+3=7。答案：7", "answer": "7", "language": "zh"},
        {"prompt": "1 e\u0301 and 4?", "solution": "1+4=5. Answer: 5", "answer": "5", "language": "en"}]  # fmt: skip
TASK = {"type": "prompts", "path": {"train": "p.jsonl", "validation": "p.jsonl", "test": "p.jsonl"}, "verify": {"type": "number"}, "max_tokens": 24}


def write(rows) -> None:
    Path("p.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    texts = [{"text": row["prompt"] + str(row.get("solution", ""))} for row in rows]
    Path("t.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in texts), encoding="utf-8")


@pytest.mark.slow
def test_solutions_are_learned_and_verified_beside_the_baselines(folder):
    write(ROWS)
    execute(parse({"name": "r", "seed": 0, "stages": [
        {"corpus": {"source": {"type": "jsonl", "path": "t.jsonl"}, "engine": {"type": "local", "workers": 1}, "validation": 0}},
        {"tokenizer": {"type": "characters", "min_count": 1}},
        {"name": "nearest", "finetune": {"model": {"type": "nearest"}, "task": TASK}},
        {"name": "solver", "finetune": {"model": {"type": "transformer", "depth": 1, "width": 48, "heads": 2, "context": 48}, "task": TASK,
                                        "train": {"steps": 80, "validate_every": 80, "optim": {"type": "adamw", "lr": 0.01}}}},
        {"evaluate": {"tasks": [TASK], "samples": []}}]}, Place()), "run", console=Console(quiet=True), force=True)  # fmt: skip
    answers = [json.loads(line) for line in Path("run/evaluate/answers/solver/prompts.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert [line["answer"] for line in answers] == [row["solution"] for row in ROWS]
    results = {(row["model"], row["metric"]): row["value"] for row in files.read_json(Path("run/evaluate/results.json")) if "group" not in row}
    assert results["solver", "verified"] == results["nearest", "verified"] == 1.0
    assert results["commonest", "verified"] == pytest.approx(2 / 3, abs=1e-6)
    assert ("nearest", "tokens") not in results
    about = files.read_json(Path("run/evaluate/tables.json"))["tasks"]["prompts"]
    assert (about["optimum"], about["rows"]) == (1.0, {"train": 3, "validation": 3, "test": 3})


def test_a_row_without_an_answer_and_a_solution_that_is_no_text_are_refused(folder):
    write([*ROWS, {"prompt": "墨？"}])
    recipe = {"name": "r", "stages": [
        {"corpus": {"source": {"type": "jsonl", "path": "t.jsonl"}, "engine": {"type": "local", "workers": 1}, "validation": 0}},
        {"tokenizer": {"type": "characters", "min_count": 1}},
        {"finetune": {"model": {"type": "transformer", "depth": 1, "width": 32, "heads": 2, "context": 32},
                      "task": {**TASK, "verify": {"type": "pattern", "pattern": ".*"}}, "train": {"steps": 1}}}]}  # fmt: skip
    with pytest.raises(DataError, match=r"4.*field 'answer' is missing"):
        execute(parse(recipe, Place()), "run", console=Console(quiet=True), force=True)
    write([{**ROWS[0], "solution": 5}])
    with pytest.raises(DataError, match="solution"):
        create("task", TASK).load("train")


def test_the_answer_itself_is_taught_where_there_is_no_solution(folder):
    write([{"prompt": "3加4等于", "answer": "七"}])
    tokenizer = CharacterTokenizer(min_count=1).train(["3加4等于七"])
    task = create("task", TASK)
    row = task.answered(task.load("train")[0], tokenizer, 99)
    assert tokenizer.decode([token for token, own in zip(row.tokens, row.trained) if own]).startswith("七")
