"""The expected calibration error, against its definition written as loops."""

from __future__ import annotations

import numpy as np
import pytest

from yanmo.text.metrics.calibration import expected_calibration_error, reliability


def by_definition(confidence, right, bins) -> float:
    total = 0.0
    for b in range(bins):
        inside = [(c, r) for c, r in zip(confidence, right) if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if inside:
            gap = abs(sum(r for _, r in inside) - sum(c for c, _ in inside)) / len(inside)
            total += gap * len(inside) / len(confidence)
    return total


def test_equal_to_its_definition():
    rng = np.random.default_rng(0)
    for bins in (1, 4, 8, 16):  # powers of two: their borders are exact, so that both sides put them alike
        for _ in range(200):
            count = int(rng.integers(1, 60))
            confidence = np.where(rng.random(count) < 0.3, rng.integers(0, bins + 1, count) / bins, rng.random(count))
            right = rng.random(count) < confidence
            assert expected_calibration_error(confidence, right, bins) == pytest.approx(
                by_definition(confidence, right, bins), abs=1e-12
            )


def test_sure_and_right_is_perfect_sure_and_wrong_is_the_worst():
    assert expected_calibration_error([1.0] * 9, [True] * 9) == 0
    assert expected_calibration_error([1.0] * 9, [False] * 9) == 1
    assert expected_calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert expected_calibration_error([], []) == 0


def test_the_rows_of_a_diagram():
    assert reliability([0.0, 0.5, 0.6, 1.0], [False, True, False, True], bins=2) == [
        {"low": 0.0, "high": 0.5, "count": 2, "confidence": 0.25, "accuracy": 0.5},
        {"low": 0.5, "high": 1.0, "count": 2, "confidence": 0.8, "accuracy": 0.5},
    ]


def test_a_confidence_is_a_probability():
    with pytest.raises(AssertionError, match="outside"):
        reliability([1.2], [True])
    with pytest.raises(AssertionError, match="shapes"):
        reliability([0.2], [True, False])
