"""Every schedule of the registry, and the shape of each."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(name=st.sampled_from(names("schedule")), steps=st.integers(1, 3000), data=st.data())
def test_a_factor_is_a_function_of_step_and_steps_alone(name, steps, data):
    """And stays above 0 and at most 1 whatever the warm-up, so that a resumed run goes on where it was."""
    warmup = data.draw(st.one_of(st.floats(0.001, 0.99), st.integers(1, 5000)))
    step = data.draw(st.integers(0, steps - 1))
    first, second = (create("schedule", {"type": name, "warmup": warmup}).factor(step, steps) for _ in range(2))
    assert first == second
    assert 0 < first <= 1


def reference(make, count, **settings):
    """The factors that transformers gives to `count` steps."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer, **settings)
    found = []
    for _ in range(count):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("ours", "theirs", "settings"), [
    ({"type": "linear"}, "get_linear_schedule_with_warmup", {"num_training_steps": 200}),
    ({"type": "cosine", "final": 0.0}, "get_cosine_schedule_with_warmup", {"num_training_steps": 200}),
    ({"type": "cosine", "final": 0.1}, "get_cosine_with_min_lr_schedule_with_warmup",
     {"num_training_steps": 200, "min_lr_rate": 0.1}),
    ({"type": "cosine_restarts", "restarts": 3}, "get_cosine_with_hard_restarts_schedule_with_warmup",
     {"num_training_steps": 200, "num_cycles": 4}),
    ({"type": "inverse_sqrt"}, "get_inverse_sqrt_schedule", {}),
    ({"type": "inverse_sqrt", "timescale": 30}, "get_inverse_sqrt_schedule", {"timescale": 30}),
    ({"type": "constant"}, "get_constant_schedule_with_warmup", {}),
    ({"type": "wsd", "decay": 40, "final": 0.1}, "get_wsd_schedule",
     {"num_decay_steps": 40, "num_stable_steps": 140, "decay_type": "linear", "min_lr_ratio": 0.1}),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_each_shape_is_that_of_transformers(ours, theirs, settings):
    """Behind the warm-up; within it ours is a step ahead, so that the first step is not lost at a rate of 0."""
    from transformers import optimization

    made = create("schedule", {**ours, "warmup": 20})
    wanted = reference(getattr(optimization, theirs), 200, num_warmup_steps=20, **settings)
    assert [made.factor(step, 200) for step in range(20, 200)] == pytest.approx(wanted[20:], abs=1e-9)
    assert wanted[0] in (0.0, 0.1)
    assert made.factor(0, 200) == pytest.approx(1 / 21)


def test_restarts_may_grow():
    made = create("schedule", {"type": "cosine_restarts", "warmup": 0, "restarts": 2, "growth": 2, "final": 0.1})
    factors = [made.factor(step, 700) for step in range(700)]
    assert [step for step in range(1, 700) if factors[step] > factors[step - 1]] == [100, 300]
    assert factors[0] == factors[100] == factors[300] == 1.0
    assert min(factors) > 0.1
    assert factors[200] == pytest.approx(0.55)


def test_the_inverse_square_root_does_not_depend_on_the_runs_length():
    made = create("schedule", {"type": "inverse_sqrt", "warmup": 100})
    assert [made.factor(step, 1000) for step in range(900)] == [made.factor(step, 10_000) for step in range(900)]
    assert made.factor(300, 1000) == pytest.approx(1 / math.sqrt(3))


@pytest.mark.parametrize(("settings", "said"), [
    ({"type": "cosine_restarts", "restarts": 0}, "restarts: expected a number of at least 1"),
    ({"type": "cosine_restarts", "restarts": 1.5}, "restarts: expected a whole number"),
    ({"type": "cosine_restarts", "growth": 0.5}, "growth: expected a number of at least 1"),
    ({"type": "linear", "final": 1.0}, "final: expected a number below 1"),
    ({"type": "inverse_sqrt", "timescale": 0}, "timescale: expected a number above 0"),
    ({"type": "inverse_sqrt", "warmup": 0}, "a 'timescale'"),
    ({"type": "linear", "warmup": float("inf")}, "warmup: expected a finite number"),
])  # fmt: skip
def test_shapes_that_make_no_sense(settings, said):
    with pytest.raises(RecipeError, match=said):
        create("schedule", settings)


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"final": 2}, {"final": -0.1}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(RecipeError, match="number of at"):
        create("schedule", {"type": "cosine", **settings})
