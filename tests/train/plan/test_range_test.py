"""The learning-rate range test: finds a rate at which the model learns, and leaves no trace."""

import math

import pytest
import torch

from yanmo.train.loop import train
from yanmo.train.plan.range_test import Point, judged, range_test


@pytest.mark.parametrize("optimizer", [{"type": "adamw", "lr": 1e-3}, {"type": "muon"}, {"type": "ivon", "ess": 1e5}])
def test_nothing_is_moved(optimizer, job, weights):
    made, twin = job("tested", optimizer=optimizer, steps=4), job("twin", optimizer=optimizer, steps=4)
    before, drawn = weights(made.model), torch.get_rng_state()
    found = range_test(made, steps=12)
    assert len(found.points) >= 5
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, value in weights(made.model).items():
        assert torch.equal(value, before[name]), name
    assert not made.optimizer.state
    assert not (made.folder / "checkpoints").exists()
    for one in (made, twin):
        train(one)
    for name, value in weights(made.model).items():
        assert torch.equal(value, twin.model.state_dict()[name]), name


def test_a_rate_that_explodes_and_one_that_learns_nothing_are_told_apart(job):
    """Whatever the recipe says, the test finds much the same rate, and training with it learns."""
    suggestions = []
    for lr in (1e-5, 1e-1):
        made = job(f"lr{lr}", optimizer={"type": "adamw", "lr": lr})
        found = range_test(made, steps=80, low=1e-5 / lr, high=3 / lr)
        assert found.lr == lr
        assert found.suggestion is not None
        assert found.points[0].lr < found.suggestion <= found.largest < found.points[-1].lr
        assert found.points[-1].smoothed > found.points[0].smoothed * 0.9  # it went on until it was too much
        suggestions.append(found.suggestion)
    assert 1e-3 < suggestions[0] < 0.3
    assert suggestions[0] == pytest.approx(suggestions[1], rel=1e-6)


def test_the_steepest_fall_of_a_known_curve():
    """loss = 4 - tanh(ln(rate / 1e-3)) below 1e-1, rising behind it: steepest at 1e-3."""
    rates = [10 ** (-6 + 0.1 * i) for i in range(60)]
    curve = [4 - math.tanh(math.log(rate / 1e-3)) + (math.log(rate / 1e-1) ** 2 if rate > 1e-1 else 0) for rate in rates]
    suggestion, largest = judged([Point(rate, rate, loss, loss) for rate, loss in zip(rates, curve)])
    assert suggestion == pytest.approx(1e-3, rel=0.3)
    assert 1e-2 < largest <= 0.13


def test_a_loss_that_never_falls_gives_no_rate():
    points = [Point(10.0**i, 10.0**i, 3.0 + i, 3.0 + i) for i in range(8)]
    assert judged(points) == (None, None)
    assert judged(points[:3]) == (None, None)
