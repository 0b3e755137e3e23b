"""Several seeds of one recipe are one method: its mean, and an interval over items and seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.conftest import write
from yanmo.core import files
from yanmo.evaluate.compare import compare, side_by_side, table
from yanmo.evaluate.record import Record
from yanmo.evaluate.seeds import families, names, stem


def answered(run: Path, shares: dict[str, float], n: int = 200) -> Path:
    """A run whose models' answers are right so often."""
    rng = np.random.default_rng(len(run.name))
    for model, share in shares.items():
        hits = rng.permutation(np.arange(n) < round(share * n))
        write(run / "evaluate" / "answers" / model / "classify.jsonl",
              [{"id": str(i), "label": "正", "predicted": "正" if hit else "b", "score": 0.9} for i, hit in enumerate(hits)])  # fmt: skip
    about = {"type": "classify", "metric": "macro_f1", "n": n, "models": {model: {} for model in shares}, "behind": {}, "best": None}
    files.write_json(run / "evaluate" / "tables.json", {"models": {m: {} for m in shares}, "tasks": {"classify": about}, "left_out": []})
    files.write_json(run / "evaluate" / "results.json", [{"model": m, "task": "classify", "metric": "accuracy", "value": s, "low": None,
                                                          "high": None, "n": n} for m, s in shares.items()])  # fmt: skip
    return run


def test_names():
    assert stem("lstm-seed12") == stem("lstm-seed-3") == "lstm"
    assert stem("seed1") is stem("lstm-seedling") is stem("lstm") is None
    assert names(["a-seed1", "b-seed1", "a-seed2", "c"]) == {"a": ["a-seed1", "a-seed2"]}


def test_the_mean_of_the_seeds_with_an_interval_over_both(tmp_path):
    run = answered(tmp_path / "one", {"lstm-seed1": 0.7, "lstm-seed2": 0.8, "lstm-seed3": 0.9, "other": 0.5})
    rows = {family.metric: family.row() for family in families(Record(run, run / "evaluate"))}
    row = rows["accuracy"]
    assert (row["model"], row["value"], row["sd"], row["seeds"], row["n"]) == ("lstm", 0.8, 0.1, 3, 200)
    assert row["low"] < 0.75, "wider than the items alone, whose interval is 0.05 wide on either side"
    assert row["high"] > 0.85
    alike = answered(tmp_path / "alike", {"lstm-seed1": 0.8, "lstm-seed2": 0.8})
    narrow = next(f.row() for f in families(Record(alike, alike / "evaluate")) if f.metric == "accuracy")
    assert narrow["high"] - narrow["low"] < row["high"] - row["low"]
    assert narrow["sd"] == 0


def test_two_runs_are_compared_by_method(tmp_path):
    one = answered(tmp_path / "one", {f"lstm-seed{i}": 0.6 + i / 100 for i in range(4)})
    other = answered(tmp_path / "other", {f"lstm-seed{i}": 0.9 + i / 100 for i in range(3)})
    rows = [row for row in compare(one, other) if row["model"] == "lstm" and row["metric"] == "accuracy"]
    assert len(rows) == 1
    assert rows[0]["difference"]["value"] == pytest.approx(0.91 - 0.615)
    assert 0.2 < rows[0]["difference"]["low"] < rows[0]["difference"]["value"] < rows[0]["difference"]["high"] < 0.4
    assert (rows[0]["first"]["seeds"], rows[0]["second"]["seeds"]) == (4, 3)
    assert "lstm" in table(rows)
    assert "standard deviation" in side_by_side(one)


def test_seeds_that_answered_other_items_are_no_method(tmp_path):
    run = answered(tmp_path / "one", {"lstm-seed1": 0.7, "lstm-seed2": 0.8})
    write(run / "evaluate/answers/lstm-seed2/classify.jsonl", [{"id": "x", "label": "正", "predicted": "正", "score": 0.9}])
    assert families(Record(run, run / "evaluate")) == []
