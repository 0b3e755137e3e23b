"""What costs nothing: the figures that a model has to beat before it has learned anything.

Printed beside every score, because 60% is a triumph with forty labels and a failure with one label in two thirds of the
examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from yanmo.evaluate.measure import CELLS, Answer, classify_results, grouped, macro_f1_of, numbers, result

DRAWS = 1000
UNIFORM_BYTE = 8.0  # bits that a byte takes when all 256 are equally probable

FLOORS = ("chance", "majority")


def language_floors(task: str, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """chance: every byte equally probable, 8 bits each, exactly."""
    exact = (UNIFORM_BYTE, UNIFORM_BYTE)
    return [result("chance", task, "bits_per_byte", UNIFORM_BYTE, exact, len(items), group)
            for group, items in grouped(answers, ("language", "source")).items()]  # fmt: skip


def pair_floors(task: str, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """chance: one of the two drawn, half of them right, exactly."""
    return [result("chance", task, "accuracy", 0.5, (0.5, 0.5), len(items), group)
            for group, items in grouped(answers, ("language", "group")).items()]  # fmt: skip


def classify_floors(task: str, answers: Sequence[Answer], names: Sequence[str], training: Sequence[str]) -> list[dict[str, Any]]:
    """chance: a label drawn with equal probability for each example, the mean of 1000 such drawings and the range that
    95% of them fall in; majority: always the most frequent label of `training` (of equals the first of `names`)."""
    rows = []
    truth, _ = numbers(answers, names)
    for group, items in grouped(answers, ("group",)).items():
        for metric, values in _drawn(truth[items], len(names)).items():
            low, high = (float(bound) for bound in np.percentile(values, [2.5, 97.5]))
            rows.append(result("chance", task, metric, float(np.mean(values)), (low, high), len(items), group))
    counts = Counter(training)
    most = max(names, key=lambda name: counts[name])  # max keeps the first of equals
    return rows + classify_results("majority", task, [{**answer, "predicted": most} for answer in answers], names)


def _drawn(true: np.ndarray, labels: int) -> dict[str, np.ndarray]:
    """accuracy and macro_f1 (DRAWS,) of labels drawn at random, some drawings at a time."""
    rng = np.random.default_rng(0)
    step = max(1, CELLS // max(len(true), 1))
    right, scores = [], []
    for start in range(0, DRAWS, step):
        rows = np.broadcast_to(true, (min(step, DRAWS - start), len(true)))
        drawn = rng.integers(0, labels, rows.shape)
        right.append((rows == drawn).mean(-1))
        scores.append(macro_f1_of(rows, drawn, labels))
    return {"accuracy": np.concatenate(right), "macro_f1": np.concatenate(scores)}
