"""Pairs of texts: read, refused, ranked."""

import json
from pathlib import Path

import numpy as np
import pytest

from yanmo.core.errors import DataError
from yanmo.core.registry import create
from yanmo.tasks.embedding import ranked

PAIRS = [("turn on the light 💡", "把灯打开"), ("play music", "放点音乐"), ("e\u0301t\u00e9", "夏天")]


def write(rows, name="pairs.jsonl"):
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


def test_ranks_are_by_the_cosine_and_a_tie_counts_against_it(folder):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(40, 8)), rng.normal(size=(40, 8))
    contents = [str(number % 30) for number in range(40)]
    second = second[[int(name) for name in contents]]
    for index, (cosine, rank) in enumerate(ranked(3 * first, second, contents)):
        all_of = {name: float(first[index] @ v / np.linalg.norm(first[index]) / np.linalg.norm(v)) for name, v in zip(contents, second)}
        assert cosine == pytest.approx(all_of[contents[index]])
        assert rank == sorted(all_of.values(), reverse=True).index(all_of[contents[index]]) + 1
    same = np.ones((3, 4))
    assert [rank for _, rank in ranked(same, same, ["a", "b", "c"])] == [3, 3, 3]
    same[1] = np.nan
    task = create("task", {"type": "embedding", "path": {"test": write({"text": a, "second": b} for a, b in PAIRS)}})
    examples = task.load("test")
    pairs = [(e, task.decode(found, e)) for e, found in zip(examples, ranked(same, same, ["a", "b", "c"]))]
    assert task.score(pairs) == {"mrr": 0.0, "accuracy": 0.0, "n": 3}


def test_what_is_no_pair_is_named(folder):
    rows = [{"text": a, "second": b} for a, b in PAIRS] + [{"text": "a", "second": " "}, {"text": "b", "second": 3}]
    with pytest.raises(DataError, match=r"pairs.jsonl:4: field 'second' expected some text, got an empty one.*pairs.jsonl:5"):
        create("task", {"type": "embedding", "path": write(rows)}).check()
    with pytest.raises(DataError, match=r"field 'second' is missing"):
        create("task", {"type": "embedding", "path": write([{"text": "a", "scond": "b"}])}).check()


def test_figures_are_those_of_the_lines(folder):
    from yanmo.evaluate.heads.embed import EmbedHead

    task = create("task", {"type": "embedding", "path": {"test": write({"text": a, "second": b} for a, b in PAIRS)}})
    lines = [{"id": str(i), "rank": rank, "of": 3, "text": "a", "second": "b", "group": ""} for i, rank in enumerate((1, 3, None))]
    head = EmbedHead()
    assert {name: figure.value for name, figure in head.figures(task, lines).items()} == pytest.approx({"mrr": 4 / 9, "accuracy": 1 / 3})
    assert head.table(task, lines)["mrr"] == pytest.approx(4 / 9)
    floors = {row["metric"]: row["value"] for row in head.floors("pairs", task, lines)}
    assert floors == pytest.approx({"mrr": (1 + 1 / 2 + 1 / 3) / 3, "accuracy": 1 / 3})
