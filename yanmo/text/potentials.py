"""A linear chain of labels, weighed: which may begin a text, follow one another and end it, and by how much.

The score of a sequence is the sum of its labels' own scores, of each label after the one before, and of its ends (Lafferty et
al. 2001). Among what the chain allows, `best` is the sequence with the greatest score and `shares` what each label has of all
sequences, weighed by the exponential of their scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = -1e60  # for what is barred, less than any score: where all sequences are barred, one of them is the best all the same


@dataclass(frozen=True)
class Potentials:
    """`begins` (L,), `follows` (L, L) from row to column, `ends` (L,), float64; -inf for what is barred."""

    begins: NDArray[np.float64]
    follows: NDArray[np.float64]
    ends: NDArray[np.float64]

    def best(self, scores: Any) -> list[int]:
        """The sequence with the greatest sum of `scores` (T, L) and potentials (Viterbi 1967). Of equals the one whose last
        labels come first. A score that is not finite is the least of all."""
        scores = np.nan_to_num(np.asarray(scores, np.float64), nan=-1e30, posinf=1e30, neginf=-1e30)
        if not len(scores):
            return []
        begins, follows, ends = (np.maximum(part, LEAST) for part in (self.begins, self.follows, self.ends))
        total = scores[0] + begins
        came = np.zeros(scores.shape, np.int64)
        for step in range(1, len(scores)):
            paths = total[:, None] + follows
            came[step] = paths.argmax(0)
            total = paths.max(0) + scores[step]
        path = [int((total + ends).argmax())]
        for step in range(len(scores) - 1, 0, -1):
            path.append(int(came[step, path[-1]]))
        return path[::-1]

    def shares(self, scores: Any) -> NDArray[np.float64]:
        """(T, L): each label's probability at each place, given finite `scores` (T, L), by the forward-backward algorithm
        (Rabiner 1989, section III). NaN where the chain allows no sequence."""
        scores = np.asarray(scores, np.float64)
        if not len(scores):
            return scores
        ahead, behind = np.empty_like(scores), np.empty_like(scores)
        ahead[0], behind[-1] = self.begins + scores[0], self.ends
        for step in range(1, len(scores)):
            ahead[step] = _added(ahead[step - 1][:, None] + self.follows, 0) + scores[step]
        for step in range(len(scores) - 2, -1, -1):
            behind[step] = _added(self.follows + (scores[step + 1] + behind[step + 1])[None, :], 1)
        whole = ahead + behind
        with np.errstate(invalid="ignore"):
            raised = np.exp(whole - whole.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)


def _added(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """ln Σ exp along an axis; -inf where all are."""
    most = values.max(axis, keepdims=True)
    most = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - most).sum(axis)) + most.squeeze(axis)
