"""Every schedule of the registry, and the shape of each."""

from itertools import pairwise

import pytest

from yanmo.core.errors import RecipeError
from yanmo.core.registry import create, names


@pytest.mark.parametrize("name", names("schedule"))
@pytest.mark.parametrize("steps", [1, 2, 7, 100, 5000])
def test_every_step_has_a_factor_above_zero_and_at_most_one(name, steps):
    schedule = create("schedule", name)
    factors = [schedule.factor(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    if steps >= 100:
        assert max(factors) == 1.0
        rise = round(schedule.warmup * steps)
        assert factors[:rise] == sorted(factors[:rise])


def test_cosine_passes_half_way_in_the_middle():
    cosine = create("schedule", {"type": "cosine", "warmup": 0, "final": 0.1})
    assert cosine.factor(0, 100) == 1.0
    assert cosine.factor(50, 100) == pytest.approx(0.55)
    assert cosine.factor(100, 100) == pytest.approx(0.1)


def test_warm_up_stable_decay_is_flat_and_then_straight():
    wsd = create("schedule", {"type": "wsd", "warmup": 10, "decay": 0.4, "final": 0.0})
    factors = [wsd.factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert set(factors[10:61]) == {1.0}
    falls = [a - b for a, b in pairwise(factors[60:])]
    assert falls == pytest.approx([1 / 40] * 39)
    assert factors[-1] == pytest.approx(1 / 40)


def test_warm_up_in_steps_or_as_a_share():
    share = create("schedule", {"type": "constant", "warmup": 0.1})
    count = create("schedule", {"type": "constant", "warmup": 20})
    assert [share.factor(step, 200) for step in range(200)] == [count.factor(step, 200) for step in range(200)]


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"final": 2}, {"final": -0.1}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(RecipeError, match="number of at"):
        create("schedule", {"type": "cosine", **settings})
