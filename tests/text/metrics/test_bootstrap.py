"""Bootstrap intervals: as a plain loop computes them, and wide enough to be believed."""

from __future__ import annotations

import numpy as np
import pytest

from yanmo.text.metrics import bootstrap
from yanmo.text.metrics.bootstrap import interval, interval_of_mean
from yanmo.text.metrics.f1 import confusion, macro_f1


def test_a_plain_loop_gives_the_same():
    rng = np.random.default_rng(3)
    true, predicted = rng.integers(0, 3, (2, 25))
    value, low, high = interval(lambda t, p: macro_f1(confusion(t, p, 3)), true, predicted, resamples=300, seed=7)
    draws = np.random.Generator(np.random.PCG64(7)).integers(0, 25, (300, 25))
    scores = sorted(float(macro_f1(confusion(true[d], predicted[d], 3))) for d in draws)
    assert value == macro_f1(confusion(true, predicted, 3))
    assert (low, high) == pytest.approx(tuple(np.percentile(scores, [2.5, 97.5])), rel=1e-12)
    assert low < value < high


def test_chunks_change_nothing(monkeypatch):
    values = np.random.default_rng(0).normal(size=37)
    whole = interval_of_mean(values, resamples=500)
    monkeypatch.setattr(bootstrap, "CELLS", 37 * 7)
    assert interval_of_mean(values, resamples=500) == whole


def test_the_seed_decides():
    values = np.arange(50.0) % 7
    assert interval_of_mean(values, seed=1) == interval_of_mean(values, seed=1)
    assert interval_of_mean(values, seed=1) != interval_of_mean(values, seed=2)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    values = np.random.default_rng(5).normal(3, 2, 400)
    value, low, high = interval_of_mean(values, resamples=5000)
    half = 1.96 * values.std() / 20
    assert value == pytest.approx(values.mean())
    assert (value - low, high - value) == pytest.approx((half, half), rel=0.08)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    rng = np.random.default_rng(11)
    held = 0
    for seed in range(300):
        _, low, high = interval_of_mean(rng.random(150) < 0.7, resamples=400, seed=seed)
        held += low <= 0.7 <= high
    assert 0.91 <= held / 300 <= 0.98


def test_equal_to_scipys_percentile_method_up_to_its_noise():
    from scipy import stats

    rng = np.random.default_rng(2)
    nats, sizes = rng.gamma(2, 50, 120), rng.integers(50, 400, 120).astype(float)

    def ratio(a, b, axis=-1):
        return a.sum(axis) / b.sum(axis)

    theirs = stats.bootstrap(
        (nats, sizes), ratio, paired=True, vectorized=True, n_resamples=5000, method="percentile", random_state=0
    )
    _, low, high = interval(ratio, nats, sizes, resamples=5000)
    width = high - low
    assert abs(low - theirs.confidence_interval.low) < 0.05 * width
    assert abs(high - theirs.confidence_interval.high) < 0.05 * width


def test_certainty_has_no_width_and_rows_stay_together():
    assert interval_of_mean(np.ones(10)) == (1.0, 1.0, 1.0)
    pairs = np.random.default_rng(0).normal(size=(30, 2))
    assert interval(lambda both, left: (both[..., 0] - left).mean(-1), pairs, pairs[:, 0]) == (0, 0, 0)


def test_no_example_is_our_mistake():
    with pytest.raises(AssertionError, match="an interval over no example"):
        interval_of_mean([])
    with pytest.raises(AssertionError, match="different lengths"):
        interval(lambda a, b: a.mean(-1), [1, 2], [1])
