"""The area under the ROC curve: how probable it is that an item of a label gets a higher score for it than one of another.

Computed from ranks, as the Mann-Whitney statistic with ties counted half, which is what the trapezoids of scikit-learn's
`roc_auc_score` give. Ranks are taken once; a resample of the items only counts them anew, which is what makes an interval
by the bootstrap affordable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 1 << 22  # counted ranks that are held at one time

Values = NDArray[np.float64]


def ranks(scores: Any, true: Any) -> NDArray[np.int64]:
    """(N,): the place of each score among the different ones, from 0. A score that is not finite is the worst there could be:
    below all others where the item has the label (`true`), above all others where it has not."""
    scores, true = np.asarray(scores, dtype=np.float64), np.asarray(true, dtype=bool)
    worst = np.where(true, -np.inf, np.inf)
    return np.unique(np.where(np.isfinite(scores), scores, worst), return_inverse=True)[1].reshape(-1)


def area(true: Any, rank: Any) -> Values:
    """(R,) of truth values (R, N) and the ranks (R, N) of the scores; NaN where all items have the label, or none."""
    true, rank = np.asarray(true, dtype=bool), np.asarray(rank, dtype=np.int64)
    levels = int(rank.max()) + 1 if rank.size else 1
    step = max(1, CELLS // max(levels, rank.shape[1]))
    return np.concatenate([_area(true[at : at + step], rank[at : at + step], levels) for at in range(0, len(rank), step)])


def _area(true: NDArray[np.bool_], rank: NDArray[np.int64], levels: int) -> Values:
    rows = len(rank)
    place = 2 * (rank + np.arange(rows)[:, None] * levels) + true  # both kinds are counted at one go
    counts = np.bincount(place.reshape(-1), minlength=2 * rows * levels).reshape(rows, levels, 2)
    without, with_label = counts[..., 0], counts[..., 1]
    above = (with_label * np.cumsum(without, -1)).sum(-1) - (with_label * without).sum(-1) / 2
    pairs = with_label.sum(-1) * without.sum(-1)
    return np.divide(above, pairs, out=np.full(rows, np.nan), where=pairs > 0)


def macro_area(true: Any, rank: Any) -> Values:
    """(R,): the mean over labels (each against the rest) of truth values (R, N, L) and ranks (R, N, L), of the labels that some
    items have and some have not; NaN where there is none."""
    true, rank = np.asarray(true, dtype=bool), np.asarray(rank, dtype=np.int64)
    areas = np.stack([area(true[..., label], rank[..., label]) for label in range(true.shape[-1])], -1)
    there = np.isfinite(areas)
    found = there.sum(-1)
    return np.divide(np.where(there, areas, 0).sum(-1), found, out=np.full(len(areas), np.nan), where=found > 0)
