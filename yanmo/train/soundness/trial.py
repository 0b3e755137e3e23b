"""What can only be seen by letting the real model do something: do packed documents leak, and what does a first pass show?"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from yanmo.core.energy import Meter
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.probe import isolation
from yanmo.objectives.base import Batch
from yanmo.train.job import Job
from yanmo.train.optimizers import rows
from yanmo.train.plan import memory
from yanmo.train.plan.rehearsal import first_rows
from yanmo.train.plan.speed import positions, usual
from yanmo.train.randomness import own_random_numbers, seeded
from yanmo.train.soundness.amounts import size
from yanmo.train.soundness.finding import DOOMED, NOTE, SOUND, WARN, Finding
from yanmo.train.step import forward_backward, forward_of

MORE, LEAST = 1.25, 1 << 26  # times the plan's memory, and bytes that are worth a word


@dataclass
class Trial:
    """A job that is ready to begin, and what was planned for it."""

    where: str
    job: Job
    planned: memory.Memory | None = None
    rows: int | None = None  # of the micro-batch that is tried; None: all
    seconds: float | None = None  # of one micro-batch, once tried
    passes: float = 1.0  # how many such micro-batches a step comes to
    joules: float | None = None
    measured: str = "unknown"  # how the energy was found


def leak(trial: Trial) -> Iterator[Finding]:
    """One token of one document is changed: nothing may move in the others of its row."""
    if not getattr(trial.job.objective, "isolate", False):
        return
    model: Any = trial.job.model
    where = f"{trial.where}.model"
    try:
        with own_random_numbers():
            found = isolation(model)
    except (RequestError, ValueError):  # a context too short for the probe's row, or no packed rows
        return
    figures = {"leaked": found.leaked, "moved": found.moved, "scale": found.scale}
    if not math.isfinite(found.scale):
        return  # which the first pass says
    if not found.holds:
        given = text("logits of others move by {leaked}", leaked=f"{found.leaked:.3g}")
        yield Finding(DOOMED, where, text("documents in one row that do not see each other"), given,
                      text("use a model that takes 'documents', or set 'isolate: false' and mean it"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, where, figures=figures)


def first_pass(trial: Trial) -> Iterator[Finding]:
    """One micro-batch forwards and backwards, nothing changed by it: its loss, its gradient, its memory, its time."""
    job = replace(trial.job, compile=False)
    forward, memory_before = forward_of(job), memory.resident()
    memory.begin_peak()
    if job.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(job.device)
    with own_random_numbers():
        rng = seeded(0, 0)
        micro, _ = job.batches.take((0, 0), rng)
        first = micro[0] if trial.rows is None else first_rows(micro[0], trial.rows)
        meter, begun = Meter(), time.monotonic()
        loss, weight = forward_backward(job, forward, [first], rng)
        value = float(loss) / weight
    trial.seconds = time.monotonic() - begun
    trial.passes = passes(job, first)
    told = meter.read()
    trial.joules, trial.measured = told["joules"], told["method"]
    most = memory.peak()
    taken = None if most is None or memory_before is None else max(0, most - memory_before)
    if job.device.type == "cuda":
        taken = int(torch.cuda.max_memory_allocated(job.device))
    idle = [name for name, p in job.model.named_parameters() if p.requires_grad and p.grad is None]
    total = sum(p.numel() for p in job.model.parameters())
    trained = sum(p.numel() for p in job.model.parameters() if p.grad is not None)
    finite = math.isfinite(value) and all(bool(gradient.isfinite().all()) for gradient in rows.held(list(job.model.parameters())))
    job.optimizer.zero_grad(set_to_none=True)
    figures = {"loss": value, "seconds": trial.seconds, "memory": taken, "trained": round(trained / max(total, 1), 4),
               "without_gradient": idle[:20]}  # fmt: skip
    where = f"{trial.where}.model"
    if not finite:
        yield Finding(DOOMED, where, text("a finite loss and gradient"), text("loss {loss}", loss=f"{value:.4g}"),
                      text("see what the model is made of: nothing was trained yet"), figures)  # fmt: skip
    elif not trained:
        yield Finding(DOOMED, where, text("parameters that are trained"), text("none"), text("freeze fewer of them"), figures)
    elif (chance := _chance(job)) and value > 1.5 * chance + 1.0:
        yield Finding(WARN, where, text("a first loss near {chance}, that of a model that knows nothing", chance=f"{chance:.2f}"),
                      f"{value:.2f}", text("see that the model was loaded whole and reads with its own tokenizer"),
                      figures)  # fmt: skip
    else:
        yield Finding(NOTE if idle else SOUND, where, figures=figures)
    if taken and trial.planned:
        planned = trial.planned.peak - trial.planned.parameters - trial.planned.optimizer  # which stand there already, or not yet
        if taken > max(LEAST, MORE * planned):
            yield Finding(WARN, where, text("about the {size} of memory that were planned", size=size(planned)),
                          text("{size} for a first pass", size=size(taken)), figures={"measured": taken})  # fmt: skip


def _chance(job: Job) -> float | None:
    """The mean loss of one who knows nothing, in nats."""
    model: Any = job.model
    head = getattr(model, "score", None)
    choices = head.out_features if isinstance(head, nn.Linear) else getattr(model, "vocabulary", None)
    return math.log(choices) if choices else None


def passes(job: Job, tried: Batch) -> float:
    """How many micro-batches like the one that was tried a step comes to, by their tokens."""
    return usual(job.batches) / positions(tried)
