"""What costs nothing: the figures that a model has to beat before it has learned anything.

Printed beside every score, because 60% is a triumph with forty labels and a failure with one label in two thirds of the
examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from yanmo.evaluate.measure import Answer, accuracy, classify_results, counted, grouped, indices, macro_f1, result

DRAWS = 1000
UNIFORM_BYTE = 8.0  # bits that a byte takes when all 256 are equally probable

FLOORS = ("chance", "majority")


def language_floors(task: str, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """chance: every byte equally probable, 8 bits each, exactly."""
    exact = (UNIFORM_BYTE, UNIFORM_BYTE)
    return [result("chance", task, "bits_per_byte", UNIFORM_BYTE, exact, len(items), group)
            for group, items in grouped(answers, ("language", "source")).items()]  # fmt: skip


def classify_floors(
    task: str, answers: Sequence[Answer], names: Sequence[str], training: Sequence[str]
) -> list[dict[str, Any]]:
    """chance: a label drawn with equal probability for each example, the mean of 1000 such drawings and the range that
    95% of them fall in; majority: always the most frequent label of `training` (of equals the first of `names`)."""
    rows = []
    truth, _ = indices(answers, names)
    size = len(names)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, size, (DRAWS, len(truth)))
    for group, items in grouped(answers, ("group",)).items():
        every = np.arange(len(items))
        for metric, figure in (("accuracy", accuracy), ("macro_f1", macro_f1)):
            values = np.array([counted(truth[items], draw[items], size, figure)(every) for draw in drawn])
            low, high = (float(bound) for bound in np.percentile(values, [2.5, 97.5]))
            rows.append(result("chance", task, metric, float(values.mean()), (low, high), len(items), group))
    counts = Counter(training)
    most = max(names, key=lambda name: counts[name])  # max keeps the first of equals
    always = [{**answer, "predicted": most} for answer in answers]
    return rows + classify_results("majority", task, always, names)
