"""One optimizer step: micro-batches forward and backward, the gradient clipped, the parameters moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from yanmo.core.messages import text
from yanmo.nn import heads
from yanmo.objectives.base import Batch, Loss
from yanmo.train.machine.precision import autocast, compiler
from yanmo.train.optimizers import rows
from yanmo.train.randomness import Moment

if TYPE_CHECKING:
    from yanmo.train.job import Job
    from yanmo.train.machine.room import Room
    from yanmo.train.world import World


@dataclass(frozen=True)
class Outcome:
    """One step: the mean loss over all that it trained on, and the norm of the whole gradient before clipping. `skipped`:
    why the parameters were not moved, where that is no failure."""

    loss: float
    norm: float
    skipped: str | None = None  # "overflow" (of float16's scaled gradient) or "spike"

    @property
    def finite(self) -> bool:
        return self.loss < float("inf") and self.norm < float("inf")


Forward = Callable[[Batch], Loss]
Carried = dict[str, torch.Tensor] | None  # what rows go on from, name → (rows of a step, *shape)


class Aside:
    """What a step has beside its loss: figures, the state from which its rows go on (`before`), and the state they leave."""

    def __init__(self, before: Carried = None):
        self._before = before
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forgets what the step has had so far: it is done again."""
        self._sums: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._left: list[dict[str, torch.Tensor]] = []
        self._row = 0

    def begin(self, batch: Batch) -> None:
        """Gives a micro-batch the state of its rows; they come in the order of the step's."""
        first, self._row = self._row, self._row + len(batch.inputs.tokens)
        if self._before is not None:
            batch.carried = {name: value[first : self._row] for name, value in self._before.items()}

    def end(self, loss: Loss) -> None:
        for name, (amount, count) in loss.metrics.items():
            total, over = self._sums.get(name, (0, 0))
            self._sums[name] = (total + amount, over + count)
        if loss.carried is not None:
            self._left.append(loss.carried)

    def share(self, world: World) -> None:
        """The figures of all processes."""
        self._sums = world.totals(self._sums)

    def metrics(self) -> dict[str, float | None]:
        """Name → mean; null over nothing."""
        return {name: round(float(amount) / float(count), 6) if float(count) else None
                for name, (amount, count) in self._sums.items()}  # fmt: skip

    def carried(self) -> Carried:
        if not self._left:
            return None
        return {name: torch.cat([part[name] for part in self._left]) for name in self._left[0]}


def update(job: Job, forward: Forward, micro: list[Batch], rng: torch.Generator, aside: Aside | None = None,
           room: Room | None = None, step: int = 0) -> Outcome:  # fmt: skip
    """One optimizer step over the micro-batches, the one after `step` finished ones; none is made where loss or gradient are
    not finite, or where the guard takes them for a spike.

    Each micro-batch's summed loss is divided by the weight (trained tokens) of the *whole* batch, so that 1×32, 4×8 and
    32×1 give the same gradient. With `room`, micro-batches that do not fit into memory are halved.
    """
    aside = aside or Aside()
    if room is None:
        loss, weight = forward_backward(job, forward, micro, rng, aside)
    else:
        begun = Moment(rng)

        def again() -> None:
            job.optimizer.zero_grad(set_to_none=True)
            aside.begin_anew()
            begun.again()

        loss, weight = room.fit(step, micro, lambda cut: forward_backward(job, forward, cut, rng, aside), again)
    outcome = move(job, loss, weight)
    job.optimizer.zero_grad(set_to_none=True)
    return outcome


def move(job: Job, loss: torch.Tensor, weight: float) -> Outcome:
    """Clips the parameters' gradients and moves the parameters, or says why not."""
    if job.scaler is not None:
        job.scaler.unscale_(job.optimizer)
    parameters: list[torch.Tensor] = list(job.model.parameters())
    gradients = rows.held(parameters)
    norm = job.world.norm(parameters)
    job.world.at("optimizer")
    outcome = Outcome(float(loss) / weight, float(norm))  # the one point where a GPU is waited for
    if outcome.finite and not job.guard.spikes(outcome):
        if outcome.norm > job.clip:
            torch._foreach_mul_(gradients, job.clip / outcome.norm)
        with autocast(job.precision, job.device):
            job.optimizer.step()
    elif outcome.finite:
        outcome = replace(outcome, skipped="spike")
    elif job.scaler is not None and outcome.loss < float("inf") and job.scaler.get_scale() > 1:
        outcome = replace(outcome, skipped="overflow")  # the scale is halved, and the next step finds it smaller
    if job.scaler is not None:
        job.scaler.update()
    return outcome


def forward_backward(job: Job, forward: Forward, micro: list[Batch], rng: torch.Generator,
                     aside: Aside | None = None) -> tuple[torch.Tensor, float]:  # fmt: skip
    """Adds the gradient of the micro-batches' mean loss to the parameters' own: (summed loss, weight)."""
    world = job.world
    parts, dice = parts_of(job, micro, rng)
    world.at("forward")
    weight = world.total(sum(part.weight for part in parts))
    assert weight > 0, "a batch without anything to train on"
    loss, aside = torch.zeros((), device=job.device), aside or Aside()
    with job.optimizer.sampled():
        for index, part in enumerate(parts):
            aside.begin(part)
            torch.manual_seed(world.seed(dice, index))
            with world.sync(index + 1 == len(parts)):
                world.at("forward")
                made = forward(part.to(job.device))
                mean = made.total / weight
                world.at("backward")
                (mean if job.scaler is None else job.scaler.scale(mean)).backward()
            loss += made.total.detach()
            aside.end(made)
    world.at("reduce")
    aside.share(world)
    return world.total(loss), weight


def parts_of(job: Job, micro: list[Batch], rng: torch.Generator) -> tuple[list[Batch], int]:
    """What of a step is this process's, and the dice of all: micro-batches draw their own random numbers (`World.seed`),
    whichever process computes them."""
    dice = int(torch.randint(1 << 40, (), generator=rng))
    return [part for batch in job.world.share(micro) for part in job.objective.expand(job.model, batch, rng)], dice


def forward_of(job: Job) -> Forward:
    """Batch → its loss, under the job's precision, compiled if it says so."""

    loss = job.world.forward(job.model, job.objective)

    def forward(batch: Batch) -> Loss:
        with autocast(job.precision, job.device):
            return loss(batch)

    if job.compile and compiler():
        compile_regions(job.model)
    elif job.compile:
        job.console.warn(text("{what}: no C++ compiler (or Triton) here: trained without torch.compile", what=job.what))
    return forward


def compile_regions(model: nn.Module) -> None:
    """Compiles the model's repeated regions (a Transformer's blocks) in place: one compilation serves all of them, and the
    names of its parameters stay. A model without regions is compiled whole."""
    heads.apart()
    for region in getattr(model, "regions", list)() or [model]:
        region.compile(dynamic=False)
