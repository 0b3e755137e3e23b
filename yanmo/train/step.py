"""One optimizer step: micro-batches forward and backward, the gradient clipped, the parameters moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Loss
from yanmo.train.precision import autocast, compiler

if TYPE_CHECKING:
    from yanmo.train.job import Job

@dataclass(frozen=True)
class Outcome:
    """One step: the mean loss over all that it trained on, and the norm of the whole gradient before clipping."""

    loss: float
    norm: float

    @property
    def finite(self) -> bool:
        return self.loss < float("inf") and self.norm < float("inf")


Forward = Callable[[Batch], Loss]
Carried = dict[str, torch.Tensor] | None  # what rows go on from, name → (rows of a step, *shape)


class Aside:
    """What a step has beside its loss: figures, the state from which its rows go on (`before`), and the state they leave."""

    def __init__(self, before: Carried = None):
        self._before = before
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

    def metrics(self) -> dict[str, float | None]:
        """Name → mean; null over nothing."""
        return {name: round(float(amount) / float(count), 6) if float(count) else None
                for name, (amount, count) in self._sums.items()}  # fmt: skip

    def carried(self) -> Carried:
        if not self._left:
            return None
        return {name: torch.cat([part[name] for part in self._left]) for name in self._left[0]}


def update(job: Job, forward: Forward, micro: list[Batch], rng: torch.Generator,
           aside: Aside | None = None) -> Outcome:  # fmt: skip
    """One optimizer step over the micro-batches; none is made where loss or gradient are not finite.

    Each micro-batch's summed loss is divided by the weight (trained tokens) of the *whole* batch, so that 1×32, 4×8 and
    32×1 give the same gradient.
    """
    loss, weight = forward_backward(job, forward, micro, rng, aside)
    gradients = [p.grad for p in job.model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    outcome = Outcome(float(loss) / weight, float(norm))  # the one point where a GPU is waited for
    if outcome.finite:
        if outcome.norm > job.clip:
            torch._foreach_mul_(gradients, job.clip / outcome.norm)
        with autocast(job.precision, job.device):
            job.optimizer.step()
    job.optimizer.zero_grad(set_to_none=True)
    return outcome


def forward_backward(job: Job, forward: Forward, micro: list[Batch], rng: torch.Generator,
                     aside: Aside | None = None) -> tuple[torch.Tensor, float]:  # fmt: skip
    """Adds the gradient of the micro-batches' mean loss to the parameters' own: (summed loss, weight)."""
    parts = [part for batch in micro for part in job.objective.expand(job.model, batch, rng)]
    weight = sum(part.weight for part in parts)
    assert weight > 0, "a batch without anything to train on"
    loss, aside = torch.zeros((), device=job.device), aside or Aside()
    for part in parts:
        aside.begin(part)
        made = forward(part.to(job.device))
        (made.total / weight).backward()
        loss += made.total.detach()
        aside.end(made)
    return loss, weight


def forward_of(job: Job) -> Forward:
    """Batch → its loss, under the job's precision, compiled if it says so."""

    def forward(batch: Batch) -> Loss:
        with autocast(job.precision, job.device):
            return job.objective.loss(job.model, batch)

    if job.compile and compiler():
        compile_regions(job.model)
    elif job.compile:
        job.console.warn(text("{what}: no C++ compiler (or Triton) here: trained without torch.compile", what=job.what))
    return forward


def compile_regions(model: nn.Module) -> None:
    """Compiles the model's repeated regions (a Transformer's blocks) in place: one compilation serves all of them, and the
    names of its parameters stay. A model without regions is compiled whole."""
    for region in getattr(model, "regions", list)() or [model]:
        region.compile(dynamic=False)
