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
