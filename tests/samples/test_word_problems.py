"""The word problems: what their tool makes, rightly solved, and no test template seen in training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from yanmo import samples
from yanmo.text.numerals import numbers

ROOT = Path(__file__).resolve().parents[2]
FILES = ("words", "train", "validation", "test")


@pytest.fixture(scope="module")
def tables() -> dict[str, list[dict]]:
    folder = samples.path("word_problems")
    return {name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()] for name in FILES}


def test_the_tool_makes_the_same_bytes(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "tools" / "word_problems.py"), str(tmp_path)], check=True)
    for name in (*(f"{name}.jsonl" for name in FILES), "SOURCE"):
        assert (tmp_path / name).read_bytes() == (samples.path("word_problems") / name).read_bytes(), name


def test_every_solution_is_right_and_says_the_answer(tables):
    for row in (row for name in FILES[1:] for row in tables[name]):
        steps = re.findall(r"(\d+)([+*/-])(\d+)=(\d+)", row["solution"])
        assert steps, row
        for left, sign, right, value in steps:
            found = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right), "/": int(left) / int(right)}[sign]
            assert found == int(value) >= 0, row
        assert steps[-1][3] == row["answer"]
        assert numbers(row["solution"])[-1] == int(row["answer"]) <= 50
        told = Counter(map(int, numbers(row["prompt"])))
        assert told[int(steps[0][0])], row  # a story's first number is where its solution begins


def test_no_test_template_stands_in_training(tables):
    seen = {row["template"] for name in ("train", "validation") for row in tables[name]}
    assert not {row["template"] for row in tables["test"]} & seen
    known = {sentence for template in seen for sentence in (f"{template[:2]} {part}" for part in template[4:].split(" / "))}
    for row in tables["test"]:
        new = {part for part in row["template"][4:].split(" / ") if f"{row['language']} {part}" not in known}
        assert len(new) == (row["group"] == "template=new wording"), row
    assert Counter((row["language"], row["group"]) for row in tables["test"]) == dict.fromkeys(
        [(language, group) for language in ("en", "zh") for group in ("template=new order", "template=new wording")], 250)  # fmt: skip
    assert len({row["prompt"] for name in FILES[1:] for row in tables[name]}) == 11_500


def test_the_words_hold_no_number(tables):
    assert not any(re.search(r"\d", row["text"]) for row in tables["words"])
