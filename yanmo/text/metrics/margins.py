"""Figures on labels from their margins: how often each label is true, is given, and is given rightly.

The confusion matrix of many labels is large and mostly empty, and the bootstrap needs one for each resample; F1, precision,
recall and Matthews' coefficient follow from its margins and its diagonal alone. Definitions are scikit-learn's with
`zero_division=0`. Of no decision (a tie, a value that is not finite) nothing is given: it is wrong, and no label of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


class Margins(NamedTuple):
    """Counts (R, L) of R sets of answers: of each label how often it is given rightly, is true, is given; and the items (R,)."""

    hits: NDArray[np.int64]
    true: NDArray[np.int64]
    given: NDArray[np.int64]
    items: NDArray[np.int64]


def margins(true: Any, given: Any, labels: int) -> Margins:
    """Of one label an item: numbers (R, N) below `labels`; a `given` of `labels` is no decision."""
    true, given = np.asarray(true, dtype=np.int64), np.asarray(given, dtype=np.int64)
    assert true.shape == given.shape, f"{true.shape} true labels, {given.shape} given"
    rows, count = true.shape
    first = np.arange(rows)[:, None] * (labels + 1)

    def counted(numbers: Any) -> NDArray[np.int64]:
        return np.bincount((numbers + first).ravel(), minlength=rows * (labels + 1)).reshape(rows, labels + 1)[:, :labels]

    return Margins(counted(np.where(true == given, true, labels)), counted(true), counted(given), np.full(rows, count))


def margins_of_sets(true: Any, given: Any) -> Margins:
    """Of any number of labels an item: truth values (R, N, L)."""
    true, given = np.asarray(true, dtype=bool), np.asarray(given, dtype=bool)
    return Margins((true & given).sum(-2), true.sum(-2), given.sum(-2), np.full(true.shape[0], true.shape[1]))


def macro_f1(m: Margins) -> Values:
    """(R,): the mean F1 of the labels that occur, as truth or as answer."""
    return _mean(_ratio(2 * m.hits, m.true + m.given), m)


def macro_precision(m: Margins) -> Values:
    """(R,): the mean of the labels' precisions."""
    return _mean(_ratio(m.hits, m.given), m)


def macro_recall(m: Margins) -> Values:
    """(R,): the mean of the labels' recalls; where every label is true of some item, the balanced accuracy."""
    return _mean(_ratio(m.hits, m.true), m)


def micro_f1(m: Margins) -> Values:
    """(R,): F1 of all decisions together; with one label an item and a decision on each, the accuracy."""
    return _ratio(2 * m.hits.sum(-1), (m.true + m.given).sum(-1))


def micro_precision(m: Margins) -> Values:
    """(R,): of all that was given, the share that is so."""
    return _ratio(m.hits.sum(-1), m.given.sum(-1))


def micro_recall(m: Margins) -> Values:
    """(R,): of all that is so, the share that was given."""
    return _ratio(m.hits.sum(-1), m.true.sum(-1))


def mcc(m: Margins) -> Values:
    """(R,): Matthews' correlation of truth and answer, for any number of labels with one an item (Gorodkin 2004); no decision
    counts as an answer of its own. 0 where truth or answer is constant."""
    true, given, items = m.true.astype(np.float64), m.given.astype(np.float64), m.items.astype(np.float64)
    undecided = items - given.sum(-1)
    both = m.hits.sum(-1) * items - (true * given).sum(-1)
    spread = (items**2 - (true**2).sum(-1)) * (items**2 - (given**2).sum(-1) - undecided**2)
    return np.divide(both, np.sqrt(np.maximum(spread, 0)), out=np.zeros(len(both)), where=spread > 0)


def _mean(values: Values, m: Margins) -> Values:
    occurs = (m.true + m.given) > 0
    return (values * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1)


def _ratio(above: Any, below: Any) -> Values:
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=below != 0)
