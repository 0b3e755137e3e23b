"""Figures from margins against scikit-learn: thousands of random answers, and those that sit at the edges."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef, precision_recall_fscore_support

from yanmo.text.metrics import f1, margins

NAMES = ["正面", "negative", "c", "😀", "e\u0301"]


def agree(true: list[int], given_: list[int], labels: int) -> None:
    """One set of answers; `labels` among `given_` is no decision."""
    found = margins.margins(np.array([true]), np.array([given_]), labels)
    names = [*NAMES, *(str(i) for i in range(20))][:labels]
    truth, said = [names[i] for i in true], [names[i] if i < labels else "(none)" for i in given_]
    occurring = [name for name in names if name in truth or name in said]
    macro = {"labels": occurring, "average": "macro", "zero_division": 0}
    micro = macro | {"average": "micro"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant answers
        expected = {"mcc": matthews_corrcoef(truth, said)}
        for kind, settings_ in (("macro", macro), ("micro", micro)):
            figures = precision_recall_fscore_support(truth, said, **settings_)
            expected |= dict(zip((f"{kind}_precision", f"{kind}_recall", f"{kind}_f1"), figures))
    for name, value in expected.items():
        assert getattr(margins, name)(found)[0] == pytest.approx(value, abs=1e-12), name


@st.composite
def answers(draw):
    labels = draw(st.integers(2, 12))
    n = draw(st.integers(1, 30))
    return (draw(st.lists(st.integers(0, labels - 1), min_size=n, max_size=n)),
            draw(st.lists(st.integers(0, labels), min_size=n, max_size=n)), labels)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(answers())
def test_agrees_with_scikit_learn(case):
    agree(*case)


@pytest.mark.parametrize(("true", "given_"), [([0], [0]), ([0], [1]), ([0], [2]), ([0, 0, 0], [0, 0, 0]), ([0, 0], [2, 2]),
                                              ([0, 1], [2, 2]), ([0, 1, 1], [1, 1, 1]), ([1, 0, 1, 0], [0, 1, 0, 1])])  # fmt: skip
def test_agrees_at_the_edges(true, given_):
    agree(true, given_, 2)


@pytest.mark.slow
def test_agrees_on_thousands():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        labels, n = int(rng.integers(2, 20)), int(rng.integers(1, 60))
        true = rng.integers(0, labels, n)
        given_ = np.where(rng.random(n) < rng.random(), true, rng.integers(0, labels + 1, n))
        agree(true.tolist(), given_.tolist(), labels)


def test_many_resamples_are_as_one_by_one_and_as_the_confusion_matrix():
    rng = np.random.default_rng(1)
    true, given_ = rng.integers(0, 4, (50, 30)), rng.integers(0, 5, (50, 30))
    whole = margins.margins(true, given_, 4)
    single = np.concatenate([margins.macro_f1(margins.margins(t[None], g[None], 4)) for t, g in zip(true, given_)])
    assert np.array_equal(margins.macro_f1(whole), single)
    table = f1.confusion(true, given_, 5)
    assert np.array_equal(whole.hits, np.diagonal(table, axis1=-2, axis2=-1)[:, :4])
    assert np.array_equal(whole.true, table.sum(-1)[:, :4])
    assert np.array_equal(whole.given, table.sum(-2)[:, :4])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_sets_of_labels_agree_with_scikit_learn(n, labels, seed):
    rng = np.random.default_rng(seed)
    true, given_ = rng.random((n, labels)) < 0.4, rng.random((n, labels)) < 0.4
    found = margins.margins_of_sets(true[None], given_[None])
    occurring = np.flatnonzero(true.any(0) | given_.any(0))
    if occurring.size:
        expected = f1_score(true, given_, labels=occurring, average="macro", zero_division=0)
        assert margins.macro_f1(found)[0] == pytest.approx(expected, abs=1e-12)
    assert margins.micro_f1(found)[0] == pytest.approx(f1_score(true, given_, average="micro", zero_division=0), abs=1e-12)
