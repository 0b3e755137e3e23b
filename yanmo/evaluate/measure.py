"""From what models answered to figures with intervals.

An answer file has one line for each test item. Everything here is computed from those lines alone, so every figure can
be recomputed, split by source or language, or compared between two models item by item, without the models.

Intervals are 95% percentile bootstrap intervals over the items (documents, or labelled examples): what other test data
of the same kind would show. They do not cover other seeds or other training data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yanmo.text.metrics import bootstrap

Answer = dict[str, Any]
EXCERPT = 300  # characters of an item that its answer repeats
CELLS = 1 << 22  # of confusion tables that are held at one time
DRAWS = 200_000_000  # items drawn for one interval, about


@dataclass(frozen=True)
class Figure:
    """A metric and the columns it is computed from: `metric` takes arrays (R, N) and gives (R,), for R resamples."""

    metric: Callable[..., np.ndarray]
    columns: tuple[np.ndarray, ...]  # (N,) each

    @property
    def n(self) -> int:
        return len(self.columns[0])

    @property
    def value(self) -> float:
        return float(self.metric(*(column[None] for column in self.columns))[0])

    def of(self, items: Sequence[int]) -> Figure:
        return Figure(self.metric, tuple(column[list(items)] for column in self.columns))

    def bounds(self) -> tuple[float, float] | None:
        """The 95% interval; None for a single item, or a figure that is not finite: there is nothing to vary."""
        if self.n < 2 or not math.isfinite(self.value):
            return None
        resamples = max(min(2000, DRAWS // self.n), 200)  # many items: a narrow interval, which needs fewer
        found = bootstrap.interval(self.metric, *self.columns, resamples=resamples)
        return (found.low, found.high)


def minus(first: Figure, second: Figure) -> Figure:
    """The difference on the same items. Its interval is much narrower than the two figures' own, because what makes an item
    hard for one model mostly makes it hard for the other."""
    split = len(first.columns)
    return Figure(lambda *arrays: first.metric(*arrays[:split]) - second.metric(*arrays[split:]), first.columns + second.columns)


def result(
    model: str, task: str, metric: str, value: float, bounds: tuple[float, float] | None, n: int, group: str | None = None
) -> dict[str, Any]:
    """One line of results.json; low and high are null where there is no interval."""
    low, high = bounds if bounds is not None else (math.nan, math.nan)
    figures = {"value": rounded(value), "low": rounded(low), "high": rounded(high), "n": n}
    return {"model": model, "task": task, "metric": metric, **figures, **({"group": group} if group else {})}


def rounded(value: float) -> float | None:
    """Six decimals; a figure that does not exist is null, never NaN (which is not JSON)."""
    return round(value, 6) if math.isfinite(value) else None


def grouped(answers: Sequence[Answer], keys: Iterable[str]) -> dict[str | None, list[int]]:
    """None → all items; 'language=zh' → those. A key whose value is the same for all items makes no group."""
    found: dict[str | None, list[int]] = {None: list(range(len(answers)))}
    for key in keys:
        places: dict[str, list[int]] = {}
        for index, answer in enumerate(answers):
            places.setdefault(str(answer.get(key) or ""), []).append(index)
        for value in sorted(places) if len(places) > 1 else []:
            if value:
                found[value if key == "group" else f"{key}={value}"] = places[value]
    return found


# ---------------------------------------------------------------------------------------------- what several heads share


def accuracy(answers: Sequence[Answer]) -> Figure:
    """The share of items whose `predicted` is their `label`; null is no decision, and wrong."""
    return Figure(lambda right: right.mean(-1), (np.array([answer["label"] == answer["predicted"] for answer in answers]),))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """(R,) of (R, N): a ratio of sums; NaN where there is nothing below."""
    total = below.sum(-1)
    return np.divide(above.sum(-1), total, out=np.full(total.shape, math.nan), where=total != 0)


def column(answers: Sequence[Answer], name: str) -> np.ndarray:
    """One field of the answers as numbers (N,); null is NaN."""
    return np.array([math.nan if answer[name] is None else answer[name] for answer in answers], dtype=np.float64)
