"""One recipe under several seeds: models called NAME-seed1, NAME-seed2 … are one method, NAME, whose figure is their mean.

An interval over test items says what other items would have shown of this one model; it does not say what another seed would
have given. Here both are drawn anew: items, and seeds among those that there are, so that the interval covers both (with few
seeds it is still too narrow, as every bootstrap of few is: `sd` says how far the seeds lie apart).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from yanmo.evaluate.head import head_by_type
from yanmo.evaluate.measure import Figure, rounded
from yanmo.evaluate.record import Record
from yanmo.text.metrics.bootstrap import CELLS

SEED = re.compile(r"(.+)-seed-?\d+")
RESAMPLES = 2000

Json = dict[str, Any]


class Family(NamedTuple):
    """The same metric of each seed's model, on the same items."""

    model: str
    task: str
    metric: str
    figures: list[Figure]

    @property
    def values(self) -> np.ndarray:
        return np.array([figure.value for figure in self.figures])

    def row(self) -> Json:
        """{model, task, metric, value, low, high, sd, seeds, n}: the mean over the seeds."""
        low, high = ends(self.drawn())
        sd = float(self.values.std(ddof=1)) if np.isfinite(self.values).all() else math.nan
        return {"model": self.model, "task": self.task, "metric": self.metric, "value": rounded(float(self.values.mean())),
                "low": rounded(low), "high": rounded(high), "sd": rounded(sd), "seeds": len(self.figures),
                "n": self.figures[0].n}  # fmt: skip

    def drawn(self, items_seed: int = 0, models_seed: int = 0) -> np.ndarray:
        """(RESAMPLES,): the mean over models drawn anew, on items drawn anew. The same `items_seed` draws the same items for
        every family of as many, so that a difference of two is one on the same items."""
        rng = np.random.Generator(np.random.PCG64([0, items_seed]))
        n, count = self.figures[0].n, len(self.figures)
        step, found = max(1, CELLS // n), []
        for start in range(0, RESAMPLES, step):
            items = rng.integers(0, n, (min(step, RESAMPLES - start), n))
            found.append(np.stack([figure.over(*(column[items] for column in figure.columns)) for figure in self.figures], -1))
        chosen = np.random.Generator(np.random.PCG64([1, models_seed])).integers(0, count, (RESAMPLES, count))
        return np.take_along_axis(np.concatenate(found), chosen, 1).mean(1)


def ends(drawn: np.ndarray) -> tuple[float, float]:
    """The 95% interval of what was drawn."""
    low, high = np.quantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).all() else (math.nan, math.nan)
    return float(low), float(high)


def stem(model: str) -> str | None:
    """NAME of NAME-seed3; None for a model that is no seed's."""
    found = SEED.fullmatch(model)
    return found[1] if found else None


def names(models: Iterable[str]) -> dict[str, list[str]]:
    """NAME → its models, of those that two seeds or more made."""
    found: dict[str, list[str]] = {}
    for model in models:
        if stem(model) is not None:
            found.setdefault(str(stem(model)), []).append(model)
    return {name: members for name, members in found.items() if len(members) > 1}


def families(record: Record) -> list[Family]:
    """Every metric of every method of the run with several seeds that answered the same items."""
    found = []
    for task, about in record.tables["tasks"].items():
        head = head_by_type(about["type"])
        for name, members in names(about["models"]).items():
            answers = [list(record.answers(model, task)) for model in members]
            if len({tuple(line["id"] for line in lines) for lines in answers}) != 1:
                continue  # not the same items
            n = len(answers[0])
            for metric, figure in head.figures(None, [line for lines in answers for line in lines]).items():
                parts = [figure.of(range(at, at + n)) for at in range(0, n * len(members), n)]
                found.append(Family(name, task, metric, parts))
    return found


def differences(first: Sequence[Family], second: Sequence[Family]) -> list[Json]:
    """[{model, task, metric, first, second, difference: {value, low, high}}] of the methods that both have: second - first, on
    the same items where there are as many."""
    others = {(family.model, family.task, family.metric): family for family in second}
    rows = []
    for one in first:
        other = others.get((one.model, one.task, one.metric))
        if other is None:
            continue
        alike = one.figures[0].n == other.figures[0].n
        low, high = ends(other.drawn(0, 1) - one.drawn(0 if alike else 1, 0))
        value = float(other.values.mean() - one.values.mean())
        rows.append({"model": one.model, "task": one.task, "metric": one.metric, "first": one.row(), "second": other.row(),
                     "difference": {"value": rounded(value), "low": rounded(low), "high": rounded(high)}})  # fmt: skip
    return rows
