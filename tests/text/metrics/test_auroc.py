"""The area under the ROC curve against scikit-learn; what is not finite is ranked worst."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from yanmo.text.metrics import auroc


def areas(true, scores):
    true = np.asarray(true, dtype=bool)
    return auroc.area(true[None], auroc.ranks(scores, true)[None])[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1e-300, 0.25, 0.5, np.nextafter(0.5, 1), 1.0])), min_size=2, max_size=40))
def test_agrees_with_scikit_learn_on_ties_of_all_kinds(items):
    true, scores = [t for t, _ in items], [s for _, s in items]
    if len(set(true)) < 2:
        assert np.isnan(areas(true, scores))
    else:
        assert areas(true, scores) == pytest.approx(roc_auc_score(true, scores), abs=1e-12)


@pytest.mark.parametrize("cases", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_agrees_on_random_scores(cases):
    rng = np.random.default_rng(0)
    for _ in range(cases):
        n = int(rng.integers(2, 40))
        true = rng.random(n) < rng.random()
        scores = rng.choice(rng.random(int(rng.integers(1, n + 1))), n) + true * rng.random()
        if 0 < true.sum() < n:
            assert areas(true, scores) == pytest.approx(roc_auc_score(true, scores), abs=1e-12)


@pytest.mark.parametrize("labels", [2, 3, 7])
def test_the_mean_over_labels_is_scikit_learns_one_against_the_rest(labels):
    rng = np.random.default_rng(labels)
    for _ in range(20):
        truth = np.concatenate([np.arange(labels), rng.integers(0, labels, 40)])
        scores = rng.dirichlet(np.ones(labels), len(truth)).round(2)
        scores /= scores.sum(1, keepdims=True)
        true = truth[:, None] == np.arange(labels)
        places = np.stack([auroc.ranks(scores[:, i], true[:, i]) for i in range(labels)], -1)
        expected = roc_auc_score(true.astype(int), scores, average="macro")
        assert auroc.macro_area(true[None], places[None])[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_worst(strange):
    assert areas([True, False], [strange, 0.0]) == 0
    assert areas([True, False], [1.0, strange]) == 0
    assert areas([True, True, False], [1.0, strange, 0.5]) == 0.5


def test_resamples_in_pieces_are_as_one_by_one(monkeypatch):
    monkeypatch.setattr(auroc, "CELLS", 64)
    rng = np.random.default_rng(3)
    true, rank = rng.random((30, 20)) < 0.5, rng.integers(0, 9, (30, 20))
    single = np.array([areas(t, r.astype(float)) for t, r in zip(true, rank)])
    assert np.allclose(auroc.area(true, rank), single, equal_nan=True)
