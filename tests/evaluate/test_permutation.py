"""The paired permutation test: exact of few items, as scipy's of many, and indifferent where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from yanmo.evaluate import labelled
from yanmo.evaluate.heads.language import bits_per_byte
from yanmo.evaluate.measure import accuracy
from yanmo.evaluate.permutation import SWAPS, p_value

RNG = np.random.default_rng(5)


def lines(right: list[bool]) -> list[dict]:
    return [{"label": "好", "predicted": "好" if hit else None} for hit in right]


@pytest.mark.parametrize("n", [3, 8, 12])
def test_of_few_items_it_is_exact(n):
    """Of rights and wrongs it is the sign test on the items where the two differ (McNemar's, exact)."""
    for _ in range(10):
        one, other = RNG.random(n) < 0.7, RNG.random(n) < 0.4
        more, less = int((one & ~other).sum()), int((other & ~one).sum())
        expected = stats.binomtest(more, more + less).pvalue if more + less else 1.0
        assert p_value(accuracy([*lines(one), *lines(other)])) == pytest.approx(expected)


def test_of_many_items_it_is_close_to_exact():
    one, other = RNG.random(400) < 0.62, RNG.random(400) < 0.55
    more, less = int((one & ~other).sum()), int((other & ~one).sum())
    expected = stats.binomtest(more, more + less).pvalue
    found = p_value(accuracy([*lines(one), *lines(other)]))
    assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / SWAPS) ** 0.5 + 1 / SWAPS)


def test_of_a_ratio_of_sums_it_is_as_scipys():
    nats, size = RNG.gamma(2, 50, (2, 9)), RNG.integers(20, 90, 9)
    answers = [{"nats": float(value), "bytes": int(n)} for row in nats for value, n in zip(row, size)]

    def gap(first, second, axis=-1):
        return (first.sum(axis) - second.sum(axis)) / size.sum() / np.log(2)

    expected = stats.permutation_test(tuple(nats), gap, permutation_type="samples", n_resamples=np.inf, vectorized=True).pvalue
    assert p_value(bits_per_byte(answers)) == pytest.approx(expected, abs=1e-9)


def test_no_difference_is_no_evidence_and_a_great_one_is_much():
    answers = lines([True, False] * 100)
    assert p_value(accuracy([*answers, *answers])) == 1.0
    assert p_value(accuracy([*lines([True] * 200), *lines([False] * 200)])) == pytest.approx(1 / (SWAPS + 1))


def test_labels_are_told_apart_alike_in_both():
    """F1 of two models whose answers hold different labels: coded together, so that swaps mean the same label."""
    one = [{"label": str(i % 2), "predicted": str(i % 2)} for i in range(12)]
    other = [{"label": str(i % 2), "predicted": "9"} for i in range(12)]
    both = labelled.figures([*one, *other], labelled.labels_in([*one, *other]))
    assert p_value(both["macro_f1"]) < 0.01
    assert p_value(both["mcc"]) < 0.01


def test_what_does_not_exist_has_no_p():
    broken = [{"nats": None, "bytes": 3}] * 2
    assert p_value(bits_per_byte([*broken, *broken])) is None
