"""Figures of texts with any number of labels: micro and macro F1, and how often all labels are right.

Definitions as scikit-learn's with `zero_division=0`, but that macro F1 is the mean over the labels that occur, as truth or as
prediction (a label that is in neither is no evidence either way). Arrays have any leading dimensions, so that the bootstrap
scores many resamples at one time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def counts(true: Any, given: Any) -> NDArray[np.int64]:
    """(…, L, 3) of tables (…, N, L): how often each label was rightly given, wrongly given, and missed."""
    true, given = np.asarray(true, bool), np.asarray(given, bool)
    assert true.shape == given.shape, f"{true.shape} true, {given.shape} given"
    return np.stack([(true & given).sum(-2), (~true & given).sum(-2), (true & ~given).sum(-2)], -1)


def f1(found: NDArray[np.int64]) -> Values:
    """(…) of counts (…, 3)."""
    right, wrong, missed = np.moveaxis(found, -1, 0)
    return _ratio(2 * right, 2 * right + wrong + missed)


def macro_f1(found: NDArray[np.int64]) -> Values:
    """(…): the mean of F1 over the labels that occur; 0 where none does."""
    occurs = found.sum(-1) > 0
    return _ratio((f1(found) * occurs).sum(-1), occurs.sum(-1))


def micro_f1(found: NDArray[np.int64]) -> Values:
    """(…): F1 of all decisions counted together."""
    return f1(found.sum(-2))


def subset_accuracy(true: Any, given: Any, decided: Any) -> Values:
    """(…): the share of rows (…, N, L) whose labels are all right; a row that is not `decided` (…, N) is wrong."""
    right = (np.asarray(true, bool) == np.asarray(given, bool)).all(-1) & np.asarray(decided, bool)
    return _ratio(right.sum(-1), right.shape[-1])


def per_class(found: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a label: precision, recall, f1, support (rows that have it)."""
    rows = []
    for label, (right, wrong, missed) in zip(names, found, strict=True):
        figures = {"precision": (right, right + wrong), "recall": (right, right + missed),
                   "f1": (2 * right, 2 * right + wrong + missed)}  # fmt: skip
        shares = {name: float(_ratio(*parts)) for name, parts in figures.items()}
        rows.append({"label": label, **shares, "support": int(right + missed)})
    return rows


def _ratio(above: Any, below: Any) -> Values:
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below != 0)
