"""Is a model right as often as it says? The expected calibration error (Guo et al. 2017, equation 3).

Predictions are put into bins of equal width by their confidence, (0, 1/n], (1/n, 2/n] …; each bin's share of right answers
is compared with its mean confidence, and the gaps are averaged, weighted by the bins' sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def reliability(confidence: Any, right: Any, bins: int = 15) -> list[dict[str, float]]:
    """A row for each bin that is not empty: low, high, count, mean confidence, accuracy; for a reliability diagram.

    confidence (N,) in [0, 1]: the probability of the label that was given; right (N,) bool.
    """
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    assert confidence.shape == right.shape == (confidence.size,), f"shapes {confidence.shape} and {right.shape}"
    assert confidence.size == 0 or (confidence.min() >= 0 and confidence.max() <= 1), "a confidence outside [0, 1]"
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    said, was = (np.bincount(place, weights=given, minlength=bins) for given in (confidence, right))
    return [{"low": b / bins, "high": (b + 1) / bins, "count": int(count[b]),
             "confidence": float(said[b] / count[b]), "accuracy": float(was[b] / count[b])}
            for b in range(bins) if count[b]]  # fmt: skip


def expected_calibration_error(confidence: Any, right: Any, bins: int = 15) -> float:
    """0: as often right as sure; at most 1. Of no prediction: 0."""
    rows = reliability(confidence, right, bins)
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / total if total else 0.0


def resampled(place: Any, confidence: Any, right: Any, bins: int = 15) -> np.ndarray:
    """The expected calibration error (R,) of R sets of predictions: their bins (R, N) (`bins_of`), confidences and rights; NaN
    of no prediction."""
    place, rows = np.asarray(place, dtype=np.int64), len(place)
    cells = (place + np.arange(rows)[:, None] * (bins + 1)).ravel()
    count, said, was = (np.bincount(cells, weights=weights, minlength=rows * (bins + 1)).reshape(rows, bins + 1)[:, :bins]
                        for weights in (None, np.ravel(confidence), np.ravel(right).astype(np.float64)))  # fmt: skip
    total = count.sum(-1)
    return np.divide(np.abs(was - said).sum(-1), total, out=np.full(rows, np.nan), where=total > 0)


def bins_of(confidence: Any, bins: int = 15) -> np.ndarray:
    """The bin of each confidence (N,); `bins` for one that is NaN, which is in none."""
    confidence = np.asarray(confidence, dtype=np.float64)
    place = np.clip(np.ceil(np.nan_to_num(confidence) * bins).astype(np.int64) - 1, 0, bins - 1)
    return np.where(np.isnan(confidence), bins, place)
