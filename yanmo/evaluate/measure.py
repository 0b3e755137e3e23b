"""From what models answered to figures with intervals.

An answer file has one line for each test item. Everything here is computed from those lines alone, so every figure can
be recomputed, split by source or language, or compared between two models item by item, without the models.

Intervals are 95% percentile bootstrap intervals over the items (documents, or labelled examples): what other test data
of the same kind would show. They do not cover other seeds or other training data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from yanmo.text.metrics import bootstrap

Answer = dict[str, Any]
Scored = tuple[float, tuple[float, float] | None]  # a value and its interval
EXCERPT = 300  # characters of an item that its answer repeats
CELLS = 1 << 22  # of confusion tables that are held at one time
DRAWS = 200_000_000  # items drawn for one interval, about


@dataclass(frozen=True)
class Figure:
    """A metric and the columns it is computed from, a row an item: `metric` takes arrays (R, N, …) and gives (R,) of R resamples.

    `statistic`: what several metrics of the same columns are computed from, worked out once for all of them; `metric` then takes
    what it gives. `weight`: how many passes over the items one value takes, about; there are fewer resamples for more."""

    metric: Callable[..., np.ndarray]
    columns: tuple[np.ndarray, ...]  # (N, …) each
    statistic: Callable[..., Any] | None = None
    weight: int = 1

    @property
    def n(self) -> int:
        return len(self.columns[0])

    @property
    def value(self) -> float:
        return float(self.over(*(column[None] for column in self.columns))[0])

    def over(self, *columns: np.ndarray) -> np.ndarray:
        """(R,) of R resamples of the columns."""
        return self.metric(*columns) if self.statistic is None else self.metric(self.statistic(*columns))

    def of(self, items: Sequence[int]) -> Figure:
        return replace(self, columns=tuple(column[list(items)] for column in self.columns))

    @property
    def resamples(self) -> int:
        return max(min(2000, DRAWS // (self.n * self.weight)), 200)  # many items: a narrow interval, which needs fewer

    def bounds(self) -> tuple[float, float] | None:
        """The 95% interval; None for a single item, or a figure that is not finite: there is nothing to vary."""
        return scored({"": self})[""][1]


def scored(figures: Mapping[str, Figure], items: Sequence[int] | None = None) -> dict[str, Scored]:
    """Each figure's value and 95% interval, on the chosen items; resamples are drawn once for all of them."""
    taken: dict[int, np.ndarray] = {}

    def part(column: np.ndarray) -> np.ndarray:
        return taken.setdefault(id(column), column if items is None else column[list(items)])

    parts = {name: replace(figure, columns=tuple(map(part, figure.columns))) for name, figure in figures.items()}
    found: dict[str, Scored] = {name: (figure.value, None) for name, figure in parts.items()}
    vary = {name: figure for name, figure in parts.items() if figure.n > 1 and math.isfinite(found[name][0])}
    for resamples in dict.fromkeys(figure.resamples for figure in vary.values()):
        names = [name for name, figure in vary.items() if figure.resamples == resamples]
        columns = list({id(column): column for name in names for column in vary[name].columns}.values())
        ends = bootstrap.intervals(_joined([vary[name] for name in names], columns), *columns, resamples=resamples)
        for name, low, high in zip(names, ends.low.tolist(), ends.high.tolist()):
            found[name] = (found[name][0], (low, high))
    return found


def _joined(figures: Sequence[Figure], columns: Sequence[np.ndarray]) -> Callable[..., np.ndarray]:
    """The figures (R, M) of resamples of all `columns`, a shared statistic worked out once."""
    place = {id(column): index for index, column in enumerate(columns)}

    def metric(*drawn: np.ndarray) -> np.ndarray:
        worked_out: dict[Any, Any] = {}
        values = []
        for figure in figures:
            own = [place[id(column)] for column in figure.columns]
            given = [drawn[index] for index in own]
            if figure.statistic is not None:
                key = (figure.statistic, *own)
                if key not in worked_out:
                    worked_out[key] = figure.statistic(*given)
                given = [worked_out[key]]
            values.append(figure.metric(*given))
        return np.stack(values, -1)

    return metric


def minus(first: Figure, second: Figure) -> Figure:
    """The difference on the same items. Its interval is much narrower than the two figures' own, because what makes an item
    hard for one model mostly makes it hard for the other."""
    split = len(first.columns)
    return Figure(lambda *arrays: first.over(*arrays[:split]) - second.over(*arrays[split:]), first.columns + second.columns,
                  weight=first.weight + second.weight - 1)  # fmt: skip


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


def digits(value: float) -> float | None:
    """Six digits that count, however small the figure: what probabilities are ranked by. Null for one that is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


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
