"""Accuracy, precision, recall and F1 of labels, and the confusion matrix they all come from.

Definitions as scikit-learn's with `zero_division=0`: precision TP/(TP+FP), recall TP/(TP+FN), F1 2TP/(2TP+FP+FN), each 0
where nothing is divided by nothing. Macro F1 is the mean over the classes that occur among the true or the predicted
labels (a class that is in neither is no evidence either way); micro F1 of single labels equals the accuracy.

Everything works on class numbers with any leading dimensions, so that the bootstrap scores many resamples at one time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Values = NDArray[np.float64]


def numbers(labels: Sequence[str], classes: Sequence[str]) -> Numbers:
    """Labels (N,) as their places in `classes`; a label that is not there is an assertion: tasks check theirs on reading."""
    places = {name: place for place, name in enumerate(classes)}
    assert len(places) == len(classes), "a class is listed twice"
    unknown = set(labels) - places.keys()
    assert not unknown, f"labels that are no class: {sorted(unknown)}"
    return np.array([places[label] for label in labels], dtype=np.int64)


def confusion(true: Any, predicted: Any, classes: int) -> Numbers:
    """How often class i was taken for class j: (…, C, C) int64 for class numbers (…, N)."""
    true, predicted = np.asarray(true, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    assert true.shape == predicted.shape, f"{true.shape} true labels, {predicted.shape} predicted"
    for name, given in (("true", true), ("predicted", predicted)):
        assert given.size == 0 or (given.min() >= 0 and given.max() < classes), f"a {name} label outside 0 … {classes - 1}"
    leading, rows = true.shape[:-1], int(np.prod(true.shape[:-1], dtype=np.int64))
    cells = (true * classes + predicted).reshape(rows, -1) + np.arange(rows)[:, None] * classes**2
    return np.bincount(cells.ravel(), minlength=rows * classes**2).astype(np.int64).reshape(*leading, classes, classes)


def accuracy(table: Numbers) -> Values:
    """The share of right labels, (…) of confusion matrices (…, C, C); 0 of no example."""
    return _ratio(np.trace(table, axis1=-2, axis2=-1), table.sum((-2, -1)))


def precision(table: Numbers) -> Values:
    """(…, C): of those labelled so, the share that is so."""
    return _ratio(_hits(table), table.sum(-2))


def recall(table: Numbers) -> Values:
    """(…, C): of those that are so, the share that is labelled so."""
    return _ratio(_hits(table), table.sum(-1))


def f1(table: Numbers) -> Values:
    """(…, C): the harmonic mean of precision and recall."""
    return _ratio(2 * _hits(table), table.sum(-1) + table.sum(-2))


def macro_f1(table: Numbers) -> Values:
    """(…): the mean of F1 over the classes that occur in either margin; 0 of no example."""
    occurs = (table.sum(-1) + table.sum(-2)) > 0
    return _ratio((f1(table) * occurs).sum(-1), occurs.sum(-1))


def micro_f1(table: Numbers) -> Values:
    """(…): F1 of all decisions counted together; with one label an example, the accuracy."""
    hits, wrong = np.trace(table, axis1=-2, axis2=-1), table.sum((-2, -1)) - np.trace(table, axis1=-2, axis2=-1)
    return _ratio(2 * hits, 2 * hits + 2 * wrong)


def per_class(table: Numbers, classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row a class, in the order of `classes`: its label, precision, recall, f1 and support (true examples)."""
    columns = zip(classes, precision(table), recall(table), f1(table), table.sum(-1), strict=True)
    return [{"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for label, p, r, f, n in columns]  # fmt: skip


def _hits(table: Numbers) -> Numbers:
    return np.diagonal(table, axis1=-2, axis2=-1)


def _ratio(above: Any, below: Any) -> Values:
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below != 0)
