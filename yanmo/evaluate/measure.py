"""From what models answered to figures with intervals.

An answer file has one line for each test item. Everything here is computed from those lines alone, so every figure can
be recomputed, split by source or language, or compared between two models item by item, without the models.

Intervals are 95% percentile bootstrap intervals over the items (documents, or labelled examples): what other test data
of the same kind would show. They do not cover other seeds or other training data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from yanmo.tasks.language_modeling import bits_per_byte, perplexity
from yanmo.text.metrics import bootstrap

Statistic = Callable[[np.ndarray], float]  # indices of items (n,) → figure
Answer = dict[str, Any]


def result(model: str, task: str, metric: str, value: float, bounds: tuple[float, float] | None, n: int,
           group: str | None = None) -> dict[str, Any]:  # fmt: skip
    """One line of results.json; without bounds (a single item) low and high are null: there is nothing to vary."""
    low, high = bounds if bounds is not None else (math.nan, math.nan)
    figures = {"value": _round(value), "low": _round(low), "high": _round(high), "n": n}
    return {"model": model, "task": task, "metric": metric, **figures, **({"group": group} if group else {})}


def _round(value: float) -> float | None:
    """Six decimals; a figure that does not exist is null, never NaN (which is not JSON)."""
    return round(value, 6) if math.isfinite(value) else None


def grouped(answers: Sequence[Answer], keys: Iterable[str]) -> dict[str | None, list[int]]:
    """None → all items; 'language=zh' → those; only where a key has more than one value, or some items lack it."""
    found: dict[str | None, list[int]] = {None: list(range(len(answers)))}
    for key in keys:
        values = sorted({str(answer.get(key) or "") for answer in answers})
        for value in values if len(values) > 1 else []:
            if value:
                name = value if key == "group" else f"{key}={value}"
                found[name] = [i for i, answer in enumerate(answers) if str(answer.get(key) or "") == value]
    return found


# ---------------------------------------------------------------------------------------------- language modelling


def language_results(model: str, task: str, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """bits_per_byte and perplexity, over all documents, by language and by source. Answers: nats, tokens, bytes."""
    nats, tokens, size = (column(answers, name) for name in ("nats", "tokens", "bytes"))
    rows = []
    for group, items in grouped(answers, ("language", "source")).items():
        for metric, over, figure in (("bits_per_byte", size, bits_per_byte), ("perplexity", tokens, perplexity)):
            statistic = ratio(nats[items], over[items], figure)
            rows.append(result(model, task, metric, statistic(np.arange(len(items))), interval(statistic, len(items)),
                               len(items), group))  # fmt: skip
    return rows


def bits_statistic(answers: Sequence[Answer]) -> Statistic:
    return ratio(column(answers, "nats"), column(answers, "bytes"), bits_per_byte)


def column(answers: Sequence[Answer], name: str) -> np.ndarray:
    return np.array([answer[name] for answer in answers], dtype=np.float64)


def ratio(nats: np.ndarray, over: np.ndarray, figure: Callable[[float, float], float]) -> Statistic:
    """The figure of a ratio of sums: long documents weigh as much as their bytes, as in the whole text."""
    return lambda items: figure(float(nats[items].sum()), float(over[items].sum()))


# ---------------------------------------------------------------------------------------------- classification


def classify_results(model: str, task: str, answers: Sequence[Answer], names: Sequence[str]) -> list[dict[str, Any]]:
    """accuracy and macro_f1, over all examples and by group. Answers: label, predicted (None: no decision)."""
    truth, predicted = indices(answers, names)
    rows = []
    for group, items in grouped(answers, ("group",)).items():
        for metric, figure in (("accuracy", accuracy), ("macro_f1", macro_f1)):
            statistic = counted(truth[items], predicted[items], len(names), figure)
            rows.append(result(model, task, metric, statistic(np.arange(len(items))), interval(statistic, len(items)),
                               len(items), group))  # fmt: skip
    return rows


def indices(answers: Sequence[Answer], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Labels as numbers, (N,) each; no decision is one more class, which is never right."""
    number = {name: index for index, name in enumerate(names)}
    return (np.array([number[answer["label"]] for answer in answers], dtype=np.int64),
            np.array([number.get(answer["predicted"], len(names)) for answer in answers], dtype=np.int64))  # fmt: skip


def macro_f1_statistic(answers: Sequence[Answer], names: Sequence[str]) -> Statistic:
    return counted(*indices(answers, names), len(names), macro_f1)


def counted(truth: np.ndarray, predicted: np.ndarray, labels: int, figure: Callable[[np.ndarray], float]) -> Statistic:
    """A figure of the confusion counts (labels, labels + 1), of which the last column is 'no decision'."""
    cells = truth * (labels + 1) + predicted

    def statistic(items: np.ndarray) -> float:
        return figure(np.bincount(cells[items], minlength=labels * (labels + 1)).reshape(labels, labels + 1))

    return statistic


def accuracy(confusion: np.ndarray) -> float:
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else math.nan


def macro_f1(confusion: np.ndarray) -> float:
    """The mean F1 of the labels that occur, as truth or as prediction (F1 = 2 TP / (2 TP + FP + FN))."""
    right = np.diagonal(confusion)
    either = confusion.sum(1) + confusion[:, :-1].sum(0)
    occurring = either > 0
    return float((2 * right[occurring] / either[occurring]).mean()) if occurring.any() else math.nan


# ---------------------------------------------------------------------------------------------- intervals, comparisons


def interval(statistic: Statistic, n: int) -> tuple[float, float] | None:
    return bootstrap.interval(statistic, n, seed=0) if n > 1 else None


def difference(first: Statistic, second: Statistic, n: int) -> dict[str, Any]:
    """first - second on the same items, with the interval of the difference: much narrower than the two figures' own,
    because what makes an item hard for one model mostly makes it hard for the other."""

    def both(items: np.ndarray) -> float:
        return first(items) - second(items)

    value, bounds = both(np.arange(n)), interval(both, n)
    low, high = bounds if bounds else (value, value)
    return {"value": _round(value), "low": _round(low), "high": _round(high)}
