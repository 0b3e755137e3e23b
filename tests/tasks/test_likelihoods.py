"""From likelihoods to a choice: what is compared, ties, and what is not finite."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yanmo.tasks.likelihoods import content_free, normalized, shares, winner

CHOICES = ["是", "不是的", "maybe 🙂"]


def test_what_is_compared():
    logprobs, tokens = [-2.0, -3.0, -8.0], [1, 3, 4]
    assert normalized(logprobs, "sum", CHOICES, tokens) == logprobs
    assert normalized(logprobs, "tokens", CHOICES, tokens) == [-2.0, -1.0, -2.0]
    assert normalized(logprobs, "characters", CHOICES, tokens) == [-2.0, -1.0, -8 / 7]
    assert normalized(logprobs, "bytes", CHOICES, tokens) == [-2 / 3, -3 / 9, -8 / 10]
    assert normalized(logprobs, "prior", CHOICES, tokens, [-1.0, -4.0, -9.0]) == [-1.0, 1.0, 1.0]


def test_contextual_calibration_takes_a_models_leaning_back():
    """A model that says the first label whatever it reads (Zhao et al. 2021): after calibration a small preference decides."""
    free = [[math.log(0.7), math.log(0.1)], [math.log(0.8), math.log(0.2)]]
    prior = content_free(free)
    assert [math.exp(value) for value in prior] == pytest.approx([(0.875 + 0.8) / 2, (0.125 + 0.2) / 2])
    read = [math.log(0.6), math.log(0.3)]
    assert winner(read) == 0
    values = normalized(read, "contextual", ["a", "b"], [1, 1], prior)
    assert winner(values) == 1
    weights = [0.6 / ((0.875 + 0.8) / 2), 0.3 / ((0.125 + 0.2) / 2)]
    assert shares(values) == pytest.approx([weight / sum(weights) for weight in weights])


@pytest.mark.parametrize("values", [[1.0, 1.0], [1.0, 1.0 + 1e-9, 0.0], [math.nan, 1.0], [math.inf, 1.0], [-math.inf, 1.0], []])
def test_ties_and_what_is_not_finite_choose_nothing(values):
    assert winner(values) is None


@given(st.lists(st.floats(-1e4, 0).map(lambda value: round(value, 3)), min_size=2, max_size=9, unique=True))
def test_the_greatest_wins_and_shares_sum_to_one(values):
    assert winner(values) == values.index(max(values))
    assert sum(shares(values)) == pytest.approx(1)


def test_a_share_of_nothing_is_nothing():
    assert all(map(math.isnan, shares([0.0, math.nan])))
    assert all(map(math.isnan, content_free([[0.0, math.inf]])))
