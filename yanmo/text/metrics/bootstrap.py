"""Percentile bootstrap intervals over examples (Efron 1979): how far a figure would move on another test set of its size.

Examples are drawn with replacement, the metric computed on each resample, and the middle share of its values is the
interval. The same seed gives the same interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

CELLS = 1 << 22  # drawn examples that are held at one time: 32 MB an array


class Interval(NamedTuple):
    """A figure on all examples, and the ends of its interval."""

    value: float
    low: float
    high: float


class Intervals(NamedTuple):
    """The same of several figures: arrays (M,)."""

    value: Any
    low: Any
    high: Any


def interval_of_mean(values: Any, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The interval of the mean of `values` (N,): accuracy of rights and wrongs, mean loss of losses."""
    return interval(lambda drawn: drawn.mean(-1), np.asarray(values, dtype=np.float64), level=level, resamples=resamples,
                    seed=seed)  # fmt: skip


def interval(metric: Callable[..., Any], *arrays: Any, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The interval of `metric(*arrays)`, for arrays (N, …) that are drawn together, row by row.

    The metric takes arrays (R, N, …) and gives (R,): it is called for many resamples at a time. Macro F1:
    `interval(lambda t, p: macro_f1(confusion(t, p, C)), true, predicted)`; bits per byte: the sums' ratio over documents.
    """
    found = intervals(lambda *drawn: np.asarray(metric(*drawn))[..., None], *arrays, level=level, resamples=resamples, seed=seed)
    return Interval(*(float(part[0]) for part in found))


def intervals(metric: Callable[..., Any], *arrays: Any, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Intervals:
    """As `interval`, for a metric that gives several figures (R, M) of the same resamples. Resamples of which a figure does not
    exist (NaN: no example of a label was drawn) do not count for it."""
    assert 0 < level < 1, f"a level of {level}"
    columns = [np.asarray(array) for array in arrays]
    count = len(columns[0])
    assert count > 0, "an interval over no example"
    assert all(len(column) == count for column in columns), "arrays of different lengths"
    value = np.asarray(metric(*(column[None] for column in columns)), dtype=np.float64)[0]
    rng = np.random.Generator(np.random.PCG64(seed))
    step = max(1, CELLS // count)
    values = []
    for start in range(0, resamples, step):
        drawn = rng.integers(0, count, (min(step, resamples - start), count))
        values.append(np.asarray(metric(*(column[drawn] for column in columns)), dtype=np.float64))
    drawn_values = np.concatenate(values)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(drawn_values, ends, axis=0)
    for index in np.flatnonzero(np.isnan(low)):
        there = drawn_values[~np.isnan(drawn_values[:, index]), index]
        if there.size:
            low[index], high[index] = np.quantile(there, ends)
    return Intervals(value, low, high)
