"""Budgets of time and energy: on machines that slow down, stall and recover, and after kills."""

import random
from itertools import pairwise

import pytest
import torch

from yanmo.core import files
from yanmo.core.config import build
from yanmo.core.errors import RecipeError
from yanmo.core.registry import create
from yanmo.train import horizon
from yanmo.train.horizon import Budget, Horizon
from yanmo.train.loop import train
from yanmo.train.records.record import Records
from yanmo.train.settings import Train

PLANNED, LIMIT = 500, 1100.0  # of which the steps take 955 as planned and the validations 80


def machine(kind, seed=0):
    """What step `i` costs, in units, where the plan expected 1.9."""
    rng = random.Random(seed)

    def cost(i):
        noise = rng.lognormvariate(0, 0.1)
        return 1.9 * noise * {
            "as measured": 1, "slower": 1.6, "slows down": 1 if i < 300 else 2.5, "slow end": 1 if i < 480 else 5,
            "disturbed": 3 if 100 <= i < 160 else 1, "stalls": 60 if i == 250 else 1, "wild": rng.choice([1, 1, 1, 8]),
            "hopeless": 100, "faster": 0.5}[kind]  # fmt: skip

    return cost


def ride(budget, cost, validation=10.0, every=63, begun=0, spent=0.0, until=None):
    """Steps until the end: (steps, spent, the places in the schedule)."""
    step, places = begun, []
    budget.follow(step)
    while step < budget.steps and step != until:
        places.append(budget.place(step))
        spent += cost(step)
        step += 1
        budget.look(step, {"seconds": spent, "joules": 0.0})
        if step % every == 0 or step == budget.steps:
            spent += validation
    return step, spent, places


@pytest.mark.parametrize("kind", ["as measured", "slower", "slows down", "slow end", "disturbed", "stalls", "wild", "hopeless", "faster"])
@pytest.mark.parametrize("seed", range(3))
def test_no_machine_makes_it_overshoot(kind, seed, tmp_path):
    budget = Budget(PLANNED, "seconds", LIMIT, 1.9, 10.0, tmp_path)
    steps, spent, places = ride(budget, machine(kind, seed))
    assert spent <= LIMIT * 1.03 + (190 if kind == "hopeless" else 0)  # one of its steps is a fifth of everything
    assert steps <= PLANNED
    assert places == sorted(places)  # the schedule never goes back
    if kind in ("as measured", "faster"):
        assert steps == PLANNED
        assert not (tmp_path / horizon.NAME).exists()
    elif kind != "hopeless":
        assert spent > 0.8 * LIMIT  # and what there is is used
        assert places[-1] > 0.95 * PLANNED  # ends where the schedule ends
    assert len(budget.decisions) < 60


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_the_rate_falls_to_the_end_of_the_schedule_without_a_jump(schedule, tmp_path):
    part = create("schedule", schedule)
    budget = Budget(PLANNED, "seconds", LIMIT, 1.9, 10.0, tmp_path)
    cost, step, spent, factors = machine("slows down"), 0, 0.0, []
    while step < budget.steps:
        factors.append(budget.factor(part, step))
        spent += cost(step)
        step += 1
        budget.look(step, {"seconds": spent})
    assert step < 0.85 * PLANNED
    assert factors[-1] < 0.02 + getattr(part, "final", 0)
    assert max(abs(a - b) for a, b in pairwise(factors[20:])) < 0.03


def test_after_a_kill_the_decisions_are_followed_and_not_the_clock(tmp_path):
    whole = Budget(PLANNED, "seconds", LIMIT, 1.9, 10.0, tmp_path / "a")
    steps, _, places = ride(whole, machine("slows down"))
    decided = sorted(whole.decisions)
    files.write_json(tmp_path / "b" / horizon.NAME, files.read_json(tmp_path / "a" / horizon.NAME))
    for checkpoint in (0, decided[0] - 1, decided[0], decided[0] + 1, decided[-1], steps - 1, steps):
        again = Budget(PLANNED, "seconds", LIMIT, 1.9, 10.0, tmp_path / "b")
        last, _, found = ride(again, machine("as measured", 9), begun=checkpoint, spent=checkpoint * 1.9)
        kept = len([i for i in range(steps) if checkpoint <= i < decided[-1]])
        assert found[:kept] == places[checkpoint : checkpoint + kept]
        assert last >= steps
        assert {at: n for at, n in again.decisions.items() if at <= decided[-1]} == whole.decisions
        files.write_json(tmp_path / "b" / horizon.NAME, files.read_json(tmp_path / "a" / horizon.NAME))


def test_a_kill_in_the_middle_gives_what_no_kill_would_have(tmp_path):
    """The last decision made, the rest of the run has nothing to decide: a kill anywhere changes nothing."""
    cost = machine("slower")
    whole = Budget(PLANNED, "seconds", LIMIT, 1.9, 10.0, tmp_path)
    steps, _, places = ride(whole, cost)
    for checkpoint in (0, 30, 100, steps - 5):
        again = Budget(PLANNED, "seconds", LIMIT, 1.9, 10.0, tmp_path)
        again.look = lambda step, spent, again=again: again.follow(step)  # the clock of a machine that has nothing to say
        last, _, found = ride(again, cost, begun=checkpoint)
        assert (last, found) == (steps, places[checkpoint:])


def test_energy_is_a_budget_too(tmp_path):
    budget = Budget(PLANNED, "joules", LIMIT, 1.9, 10.0, tmp_path)
    spent = step = 0
    while step < budget.steps:
        spent, step = spent + 4, step + 1
        budget.look(step, {"seconds": 0.0, "joules": float(spent)})
    assert 0.9 * LIMIT < spent <= 1.03 * LIMIT


def test_of_several_processes_all_decide_alike(tmp_path):
    slow = Budget(PLANNED, "seconds", LIMIT, 1.9, 10.0, tmp_path / "slow")
    fast = Budget(PLANNED, "seconds", LIMIT, 1.9, 10.0, tmp_path / "fast", agree=lambda mine: mine * 1.6)
    ride(slow, lambda i: 3.2, validation=0)
    ride(fast, lambda i: 2.0, validation=0)
    assert slow.decisions
    assert fast.decisions == slow.decisions


def test_without_a_budget_nothing_moves():
    fixed = Horizon(10)
    assert not fixed.look(5, {"seconds": 1e9})
    assert fixed.steps == 10
    assert [fixed.factor(create("schedule", "wsd"), i) for i in range(10)] == [create("schedule", "wsd").factor(i, 10) for i in range(10)]


def slowed(job, monkeypatch, seconds):
    """A clock that says `seconds` a step, whatever the machine does."""
    monkeypatch.setattr(Records, "spent", lambda self: {"seconds": self.state.step * seconds, "joules": 0.0})


def test_a_training_ends_within_its_budget_and_its_rate_at_its_end(job, monkeypatch, tmp_path):
    made = job("a", steps=60)
    made.horizon = horizon.of({"steps": 60, "horizon": {"unit": "seconds", "limit": 100.0, "step_cost": 1.5, "reserve": 1.0}}, made.folder)
    slowed(made, monkeypatch, 3.0)
    state = train(made)
    assert state.step == 32
    rates = [line["lr"] for line in metrics(made)]
    assert max(rates) == 3e-3
    assert rates[-1] < 0.1 * 3e-3
    assert files.read_json(made.folder / horizon.NAME)["planned"] == 60


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [3, 21, 25, 31])
def test_a_killed_training_follows_what_it_had_decided(at, job, monkeypatch, weights):
    limits = {"steps": 60, "horizon": {"unit": "seconds", "limit": 100.0, "step_cost": 1.5, "reserve": 1.0}}
    whole = job("whole", steps=60)
    whole.horizon = horizon.of(limits, whole.folder)
    slowed(whole, monkeypatch, 3.0)
    train(whole)
    broken = job("broken", steps=60, checkpoint_every=7)
    broken.horizon = horizon.of(limits, broken.folder)
    inner, taken = broken.batches.take, []

    def take(cursor, rng):
        taken.append(cursor)
        if len(taken) > at:
            raise Killed
        return inner(cursor, rng)

    broken.batches.take = take
    with pytest.raises(Killed):
        train(broken)
    again = job("broken", steps=60, checkpoint_every=7)
    again.horizon = horizon.of(limits, again.folder)
    assert train(again).step == 32
    assert all(torch.equal(value, weights(whole.model)[name]) for name, value in weights(again.model).items())


def metrics(made):
    from yanmo.train.records.metrics import read

    return [line for line in read(made.folder / "metrics.jsonl") if "loss" in line]


def test_one_length_alone():
    assert build(Train, {"joules": 5000}).timed is True
    with pytest.raises(RecipeError, match="one of steps, minutes, joules, tokens and epochs"):
        build(Train, {"joules": 5000, "minutes": 3})
    with pytest.raises(RecipeError, match="above 0"):
        build(Train, {"joules": 0})
