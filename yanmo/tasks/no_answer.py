"""When a reader should say that there is no answer: the margin of "nowhere" over the best span, chosen on held-out questions.

SQuAD 2's own script looks for the threshold with the best F1 on the questions that it scores (Rajpurkar et al. 2018,
`find_best_thresh`). Here it is looked for on validation questions, saved with the model, and used on all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from yanmo.tasks.spans import NOWHERE, Spot


def margin(spots: Sequence[Spot]) -> float | None:
    """By how much "nowhere" is ahead of the best span among `spots` (best first); None where one of the two is not there."""
    nothing = next((spot.score for spot in spots if (spot.start, spot.end) == NOWHERE), None)
    span = next((spot.score for spot in spots if (spot.start, spot.end) != NOWHERE), None)
    return None if nothing is None or span is None else nothing - span


def best_threshold(margins: Any, answered: Any, silent: Any) -> tuple[float, float]:
    """The threshold with the greatest mean score, and that score. Of each question (N,): the margin, its score where the best
    span is given, and where no answer is given; none is given where the margin is above the threshold.

    Of thresholds that do equally well the one nearest to 0; between two margins it stands in the middle, so that rounding
    changes no decision."""
    margins, answered, silent = (np.asarray(column, np.float64) for column in (margins, answered, silent))
    if not len(margins):
        return 0.0, 0.0
    order = np.argsort(margins, kind="stable")
    levels, starts = np.unique(margins[order], return_index=True)
    gained = np.concatenate([[0.0], np.cumsum((answered - silent)[order])])[[*starts, len(margins)]]
    scores = (silent.sum() + gained) / len(margins)  # with the first 0, 1, … of the levels answered
    edges = np.concatenate([[-np.inf], levels, [np.inf]])
    places = [_between(low, high) for low, high in pairwise(edges)]
    best = float(scores.max())
    able = [place for place, score in zip(places, scores) if score >= best - 1e-12]
    return min(able, key=lambda place: (abs(place), place)), best


def _between(low: float, high: float) -> float:
    """A threshold from `low` on and below `high`: 0 where that is one."""
    if low <= 0 < high:
        return 0.0
    if np.isinf(low):
        return float(high) - 1.0
    return float(low) + 1.0 if np.isinf(high) else float(low + (high - low) / 2)
