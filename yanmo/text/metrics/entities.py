"""Precision, recall and F1 of entities: an entity is found where one with its very borders and type is given.

What the shared task of CoNLL-2003 counts (Tjong Kim Sang & De Meulder 2003), what seqeval counts in its strict mode and
nervaluate as 'strict'; with borders alone, nervaluate's 'exact'. 0 where nothing is divided by nothing. Micro figures are those
of all entities together, macro F1 the mean over the types that occur as truth or as prediction.

Counts are arrays with any leading dimensions, so that the bootstrap scores many resamples at one time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]  # (…, 3): found rightly, given, true
Span = tuple[int, int, str]


def counts(true: Iterable[Span], given: Iterable[Span], labels: Sequence[str]) -> Counts:
    """(C, 3) for one text: of each type how many entities were found rightly, were given, and are there. Spans are (start,
    end, type), of anything that has borders; one that is given twice counts once. A type that is not listed is an assertion."""
    places = {label: place for place, label in enumerate(labels)}
    there, found = set(true), set(given)
    table = np.zeros((len(labels), 3), np.int64)
    for column, spans in enumerate((there & found, found, there)):
        for _, _, label in spans:
            table[places[label], column] += 1
    return table


def borders(true: Iterable[Span], given: Iterable[Span]) -> Counts:
    """(3,) for one text, whatever the types: as `counts`, of the borders alone."""
    there, found = {span[:2] for span in true}, {span[:2] for span in given}
    return np.array([len(there & found), len(found), len(there)], np.int64)


def precision(table: Any) -> NDArray[np.float64]:
    """(…) of counts (…, 3): of what was given, the share that is there."""
    return _ratio(table[..., 0], table[..., 1])


def recall(table: Any) -> NDArray[np.float64]:
    """(…): of what is there, the share that was found."""
    return _ratio(table[..., 0], table[..., 2])


def f1(table: Any) -> NDArray[np.float64]:
    """(…): the harmonic mean of the two."""
    return _ratio(2 * table[..., 0], table[..., 1] + table[..., 2])


def macro_f1(table: Any) -> NDArray[np.float64]:
    """(…) of counts (…, C, 3): the mean F1 of the types that occur at all; 0 where none does."""
    occurs = (table[..., 1] + table[..., 2]) > 0
    return _ratio((f1(table) * occurs).sum(-1), occurs.sum(-1))


def report(table: Counts, labels: Sequence[str]) -> list[dict[str, Any]]:
    """A row a type of counts (C, 3): label, precision, recall, f1, support (how many there are), predicted."""
    values = (precision(table), recall(table), f1(table))
    return [
        {"label": label, "precision": float(values[0][i]), "recall": float(values[1][i]), "f1": float(values[2][i]),
         "support": int(table[i, 2]), "predicted": int(table[i, 1])}
        for i, label in enumerate(labels)
    ]  # fmt: skip


def _ratio(above: Any, below: Any) -> NDArray[np.float64]:
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below != 0)
