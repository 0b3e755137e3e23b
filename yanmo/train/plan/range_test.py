"""The learning-rate range test (Smith 2017, arXiv:1506.01186): which rate is too small, which is right, which is too much.

The rate rises by the same factor at every step, over some orders of magnitude, on the real rows; the loss first stays,
then falls, and in the end explodes. Where it falls fastest the rate is good, where it is lowest too large already. All that
the test moves, it puts back: model, optimizer and random numbers are afterwards what they were.

Rates are given as factors of the optimizer's own (every group keeps its share), and shown as the first group's rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from yanmo.core.messages import Text, text
from yanmo.train.job import Job
from yanmo.train.randomness import own_random_numbers, seeded
from yanmo.train.step import forward_of, update

STEPS = 60
RANGE = (1e-3, 1e2)  # factors of the rate in the recipe
SMOOTH = 0.8  # of the loss: what stays of the moving mean
WORSE = 1.5  # times the lowest smoothed loss: there it ends


@dataclass(frozen=True)
class Point:
    """One step of the test: the factor, the first group's rate, the batch's loss, and the smoothed one."""

    factor: float
    lr: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Range:
    """What the test found. `suggestion`: the rate where the loss falls fastest; `largest`: where it is lowest, beyond which
    nothing is learned; both None where the loss never fell. `lr`: what the recipe has."""

    lr: float
    suggestion: float | None
    largest: float | None
    points: list[Point]

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def verdict(self) -> Text:
        if self.suggestion is None or self.largest is None:
            return text("no rate between {low} and {high} lowered the loss", low=f"{self.points[0].lr:.3g}",
                        high=f"{self.points[-1].lr:.3g}")  # fmt: skip
        return text("the loss falls fastest at lr {suggestion} and is lowest at {largest}; the recipe has {lr}",
                    suggestion=f"{self.suggestion:.3g}", largest=f"{self.largest:.3g}", lr=f"{self.lr:.3g}")  # fmt: skip


def range_test(job: Job, steps: int = STEPS, low: float = RANGE[0], high: float = RANGE[1]) -> Range:
    """At most `steps` steps with rates from `low` to `high` times the optimizer's own; the job is left as it was."""
    assert steps >= 10, "too few steps for a curve"
    assert 0 < low < high
    points: list[Point] = []
    peak = job.optimizer.param_groups[0]["peak"]
    with own_random_numbers(), restored(job):
        forward, cursor, mean, best = forward_of(replace(job, compile=False)), (0, 0), 0.0, math.inf
        job.model.train()
        for step in range(steps):
            factor = low * (high / low) ** (step / (steps - 1))
            rng = seeded(job.seed, step)
            micro, cursor = job.batches.take(cursor, rng)
            job.optimizer.begin(factor, job.seed, step)
            outcome = update(job, forward, micro, rng)
            if not outcome.finite:
                break
            mean = SMOOTH * mean + (1 - SMOOTH) * outcome.loss
            smoothed = mean / (1 - SMOOTH ** (step + 1))
            points.append(Point(factor, factor * peak, outcome.loss, smoothed))
            best = min(best, smoothed)
            if smoothed > WORSE * best:
                break
    return Range(peak, *judged(points), points)


def judged(points: list[Point]) -> tuple[float | None, float | None]:
    """(the rate of the steepest fall of the smoothed loss over the rate's logarithm, the rate of the lowest one)."""
    if len(points) < 5:
        return None, None
    lowest = min(range(len(points)), key=lambda i: points[i].smoothed)
    span = range(1, lowest)
    slopes = {i: (points[i + 1].smoothed - points[i - 1].smoothed) / math.log(points[i + 1].factor / points[i - 1].factor)
              for i in span}  # fmt: skip
    if not slopes or min(slopes.values()) >= 0:
        return None, None
    return points[min(slopes, key=lambda i: slopes[i])].lr, points[lowest].lr


@contextmanager
def restored(job: Job) -> Iterator[None]:
    """Model, optimizer and mode are afterwards what they were, whatever happens within."""
    training = job.model.training
    weights = {name: value.detach().clone() for name, value in job.model.state_dict().items()}
    memory = {p: deepcopy(state) for p, state in job.optimizer.state.items()}
    rates, clock = [group["lr"] for group in job.optimizer.param_groups], job.optimizer.clock
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in job.model.state_dict().items():
                value.copy_(weights[name])
        job.optimizer.zero_grad(set_to_none=True)
        job.optimizer.state.clear()
        job.optimizer.state.update(memory)
        for group, rate in zip(job.optimizer.param_groups, rates):
            group["lr"] = rate
        job.optimizer.clock = clock
        job.model.train(training)
