"""A linear classifier of texts: hashed words and letters, and logistic regression.

A text is described by its tokens and pairs of tokens (`steps/shingles.py`: words in English, characters in Chinese) and by
its runs of three characters as they are written, punctuation and case included. Each kind is counted (1 + ln count), scaled
to length 1, and added up in 2^18 buckets chosen by a hash (Weinberger et al. 2009), so that there is no vocabulary to
carry: a fitted model is one float32 array of 1 MiB. Fitting takes scikit-learn's solver; scoring is numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yanmo.core.data import content_id
from yanmo.corpus.words.shingles import Hashes, factors, mixed, tokens

BITS = 18
READ = 20_000  # characters of a text that are looked at
LETTERS = 3
FOLDS = 5
FREEDOM = 10.0  # scikit-learn's C: how freely weights may grow
ROUNDS = 300  # of the solver at most

Terms = tuple[NDArray[np.uint32], NDArray[np.float32]]  # buckets, each once, and their weights


@dataclass(frozen=True, eq=False)
class Linear:
    """P(first class) = 1 / (1 + exp(-(bias + Σ weight of a bucket × its value in the text)))."""

    weights: NDArray[np.float32]  # (2^18,)
    bias: float

    def probability(self, text: str) -> float:
        """How likely `text` is of the first class, in [0, 1], to four places."""
        total = self.bias + sum(float(self.weights[buckets] @ values) for buckets, values in features(text))
        return round(float(_logistic(np.float64(total))), 4)


@dataclass(frozen=True)
class Fit:
    """How a classifier does on examples that it was not fitted on: five parts, each scored by the other four."""

    first: int  # examples of each class
    second: int
    accuracy: float | None  # at probability 0.5; None where there are too few examples to tell
    auc: float | None  # how often an example of the first class scores above one of the second


def features(text: str) -> list[Terms]:
    """The text's tokens and its letters, as buckets."""
    text = text[:READ]
    words = tokens(text)
    first, second = factors(2, 11)
    both = np.concatenate([words, mixed(words[:-1] * first + words[1:] * second)]) if words.size > 1 else words
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    count = max(points.size - LETTERS + 1, 0)
    runs = np.zeros(count, np.uint64)
    for offset, factor in enumerate(factors(LETTERS, 12)):
        runs += points[offset : offset + count] * factor
    return [_buckets(both), _buckets(mixed(runs))]


def _buckets(hashes: Hashes) -> Terms:
    buckets, counts = np.unique((mixed(hashes) >> np.uint64(64 - BITS)).astype(np.uint32), return_counts=True)
    values = 1 + np.log(counts)
    return buckets, (values / max(np.sqrt(values @ values), 1e-9)).astype(np.float32)


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))


def fit(first: Sequence[str], second: Sequence[str]) -> tuple[Linear, Fit]:
    """A classifier of two classes from examples of each, which count the same however many there are. The same examples give
    the same weights."""
    rows = [features(text) for text in (*first, *second)]
    labels = np.repeat([1, 0], [len(first), len(second)])
    matrix = _matrix(rows)
    weights, bias = _solve(matrix, labels)
    folds = np.array([int(content_id(text)[:8], 16) % FOLDS for text in (*first, *second)])  # one text twice: one part
    return Linear(weights, bias), _held_out(matrix, labels, folds)


def _matrix(rows: list[list[Terms]]) -> Any:
    """(N, 2^18) sparse float32."""
    from scipy.sparse import csr_matrix

    sizes = [sum(buckets.size for buckets, _ in row) for row in rows]
    indices = np.concatenate([buckets for row in rows for buckets, _ in row]).astype(np.int32)
    values = np.concatenate([values for row in rows for _, values in row])
    found = csr_matrix((values, indices, np.concatenate([[0], np.cumsum(sizes)])), shape=(len(rows), 1 << BITS))
    found.sum_duplicates()
    return found


def _solve(matrix: Any, labels: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    used = np.unique(matrix.indices)
    regression = LogisticRegression(C=FREEDOM, class_weight="balanced", max_iter=ROUNDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # not at its optimum to the last digit: as good a classifier
        regression.fit(matrix[:, used], labels)
    weights = np.zeros(1 << BITS, np.float32)
    weights[used] = regression.coef_[0]
    return weights, float(np.float32(regression.intercept_[0]))


def _held_out(matrix: Any, labels: NDArray[Any], folds: NDArray[Any]) -> Fit:
    counts = int(labels.sum()), int((1 - labels).sum())
    scores = np.full(labels.size, np.nan)
    for fold in range(FOLDS):
        rest = folds != fold
        if rest.all() or len(set(labels[rest].tolist())) < 2:
            continue
        weights, bias = _solve(matrix[rest], labels[rest])
        scores[~rest] = matrix[~rest] @ weights + bias
    known = ~np.isnan(scores)
    if len(set(labels[known].tolist())) < 2:
        return Fit(*counts, None, None)
    above, below = np.sort(scores[known & (labels == 1)]), np.sort(scores[known & (labels == 0)])
    wins = (np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")).sum() / 2
    accuracy = float(((scores[known] > 0) == labels[known]).mean())
    return Fit(*counts, round(accuracy, 4), round(float(wins / (above.size * below.size)), 4))
