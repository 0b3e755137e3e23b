"""The training loop: one step is all of it, in the order it runs.

    rows → micro-batches → forward, backward → clip → step → metrics → (checkpoint → validate)

Everything that a step depends on is either in the checkpoint or follows from (seed, step): a run that was killed at any
moment goes on from its newest checkpoint and ends with the bytes of one that was not.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import TrainingError, WorkError
from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Loss, Objective
from yanmo.train import checkpoint
from yanmo.train.checkpoint import State
from yanmo.train.metrics import MetricsLog
from yanmo.train.optim import set_rates
from yanmo.train.precision import autocast, compiler
from yanmo.train.schedule import Constant, Schedule


class Batches(Protocol):
    """Where rows come from. `take` gives one step's micro-batches and the cursor behind them, from any cursor in O(1)."""

    def take(self, cursor: tuple[int, int], rng: torch.Generator) -> tuple[list[Batch], tuple[int, int]]: ...

    def describe(self, items: list[Any]) -> str:
        """The documents or examples behind rows, for a person to look at."""
        ...


@dataclass(frozen=True)
class Verdict:
    """One validation: `rank`, the smaller the better (compared left to right), and figures to show."""

    rank: tuple[float, ...]
    figures: dict[str, float]


@dataclass
class Job:
    """All that a training run needs; nothing in it changes while it runs but model and optimizer."""

    model: nn.Module
    objective: Objective
    batches: Batches
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    steps: int
    folder: Path  # gets checkpoints/ and metrics.jsonl
    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    compile: bool = False
    clip: float = 1.0
    validate: Callable[[], Verdict] | None = None
    validate_every: int | None = None
    patience: int | None = None
    checkpoint_every: int | None = None
    keep: int = 2
    console: Console = field(default_factory=Console)
    what: str = "training"


@dataclass(frozen=True)
class Speed:
    """Seconds of one micro-batch forward and backward, and of one optimizer step."""

    micro: float
    step: float

    def seconds(self, steps: float, micros: int) -> float:
        return steps * (micros * self.micro + self.step)


class Stopped(WorkError):
    """Training was asked to stop (SIGTERM, SIGINT) and has saved where it was."""


def train(job: Job) -> State:
    """Trains to the end, to the patience, or to a signal; leaves the best validated (else the last) weights in the model.

    Raises TrainingError at the first loss or gradient that is not finite, Stopped after a signal; in both cases the
    newest checkpoint is good.
    """
    checkpoints = job.folder / "checkpoints"
    state, carried = _resume(job, checkpoints)
    forward = forward_of(job)
    job.model.train()
    with (
        _stopping() as stop,
        _own_random_numbers(),
        MetricsLog(job.folder / "metrics.jsonl", state.step, state.validated) as log,
        job.console.bar(job.what, total=job.steps, unit="steps") as bar,
    ):
        bar.advance(state.step)
        began, first = time.monotonic() - state.seconds, state.step + 1
        while True:
            if job.validate is not None and state.validated < state.step and _due(job.validate_every, state.step, job.steps):
                _validate(job, state, log)
                checkpoint.prune(checkpoints, job.keep, state.best_step)
            if state.step >= job.steps or state.stopped:
                break
            started = time.monotonic()
            rng = seeded(state.seed, state.step)
            micro, cursor = job.batches.take(state.cursor, rng)
            factor = job.schedule.factor(state.step, job.steps)
            set_rates(job.optimizer, factor)
            aside = Aside(carried)
            loss, norm = update(job, forward, micro, rng, aside)
            if not (loss < float("inf") and norm < float("inf")):
                raise _diverged(job, state, micro, loss, norm)
            state.step, state.cursor, carried = state.step + 1, cursor, aside.carried()
            state.tokens += sum(batch.inputs.tokens.numel() for batch in micro)
            state.seconds = time.monotonic() - began
            if job.compile and state.step == first:
                job.console.log(text("{what}: the first step, with its compilation, took {seconds} s", what=job.what,
                                     seconds=f"{time.monotonic() - started:.1f}"))  # fmt: skip
            speed = sum(batch.inputs.tokens.numel() for batch in micro) / (time.monotonic() - started)
            log.write(step=state.step, loss=loss, lr=job.optimizer.param_groups[0]["lr"], grad_norm=norm, tokens=state.tokens,
                      tokens_per_second=round(speed, 1), seconds=round(state.seconds, 3), **aside.metrics())  # fmt: skip
            bar.advance(1, loss=loss, **{"tokens/s": round(speed)})
            if (
                stop.signal
                or _due(job.checkpoint_every, state.step, job.steps)
                or (job.validate is not None and _due(job.validate_every, state.step, job.steps))
            ):  # before the validation, so that whatever happens there costs no training
                checkpoint.save(checkpoints, state, job.model, job.optimizer, carried)
                checkpoint.prune(checkpoints, job.keep, state.best_step)
            if stop.signal:
                given = text("stopped by {signal} after step {step} of {steps}; a checkpoint is saved",
                             signal=stop.signal, step=state.step, steps=job.steps)  # fmt: skip
                raise Stopped(job.what, None, given, text("run the same command again to go on"))
    _keep_best(job, state, checkpoints)
    job.model.eval()
    return state


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
           aside: Aside | None = None) -> tuple[float, float]:  # fmt: skip
    """One optimizer step over the micro-batches: (mean loss, norm of the gradient before clipping).

    Each micro-batch's summed loss is divided by the weight (trained tokens) of the *whole* batch, so that 1×32, 4×8 and
    32×1 give the same gradient.
    """
    loss, weight = forward_backward(job, forward, micro, rng, aside)
    gradients = [p.grad for p in job.model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    mean, size = float(loss) / weight, float(norm)  # the one point where a GPU is waited for
    if mean < float("inf") and size < float("inf"):
        if size > job.clip:
            torch._foreach_mul_(gradients, job.clip / size)
        with autocast(job.precision, job.device):
            job.optimizer.step()
    job.optimizer.zero_grad(set_to_none=True)
    return mean, size


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


def measure(model: nn.Module, objective: Objective, optimizer: torch.optim.Optimizer, batches: Batches, device: torch.device,
            precision: str, compiled: bool) -> Speed:  # fmt: skip
    """The speed of real steps on this machine now: of a few, the fastest, as whatever else disturbs only slows down."""
    with _own_random_numbers():
        job = Job(model, objective, batches, optimizer, Constant(), 1, Path(), 0, device, precision, compiled)
        forward = forward_of(job)
        model.train()
        micro, steps, cursor = [], [], (0, 0)
        for index in range(4):
            rng = seeded(0, index)
            batch, cursor = batches.take(cursor, rng)
            begun = _now(device)
            forward_backward(job, forward, batch, rng)
            middle = _now(device)
            with autocast(precision, device):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ended = _now(device)
            if index > (1 if compiled else 0):  # the first one compiles, warms caches, allocates
                micro.append(middle - begun)
                steps.append(ended - middle)
            if index > 1 and ended - begun > 2.0:
                break  # slow enough to be measured well
    return Speed(min(micro), min(steps))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def seeded(seed: int, step: int) -> torch.Generator:
    """Random numbers of one step: torch's own (dropout) reset, and a generator for the objective."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)
    return torch.Generator().manual_seed((seed * 1_000_033 + step) % 2**63)


def _due(every: int | None, step: int, steps: int) -> bool:
    return step == steps or (every is not None and step > 0 and step % every == 0)


def _resume(job: Job, checkpoints: Path) -> tuple[State, Carried]:
    checkpoints.mkdir(parents=True, exist_ok=True)
    files.remove_temporaries(checkpoints)
    newest = checkpoint.newest(checkpoints, job.console)
    if newest is None:
        return State(seed=job.seed), None
    state = checkpoint.restore(newest, job.model, job.optimizer)
    job.console.log(text("{what}: goes on from step {step}", what=job.what, step=state.step))
    return state, checkpoint.carried(newest, job.device)


def _validate(job: Job, state: State, log: MetricsLog) -> None:
    assert job.validate is not None
    job.model.eval()
    with torch.no_grad(), autocast(job.precision, job.device), torch.compiler.set_stance("force_eager"):  # many shapes
        verdict = job.validate()
    job.model.train()
    state.validated = state.step
    if state.best is None or verdict.rank < state.best:
        state.best, state.best_step, state.waited = verdict.rank, state.step, 0
    else:
        state.waited += 1
        state.stopped = job.patience is not None and state.waited >= job.patience
    log.write(step=state.step, validation=verdict.figures, best_step=state.best_step)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in verdict.figures.items())
    job.console.log(text("{what}: step {step}: {figures}", what=job.what, step=state.step, figures=shown))


def _keep_best(job: Job, state: State, checkpoints: Path) -> None:
    """The best validated weights instead of the last, where they are others."""
    if state.best_step in (-1, state.step):
        return
    best = checkpoints / checkpoint.name_of(state.best_step)
    fault = checkpoint.broken(best)
    if fault is not None:
        job.console.warn(text("{path}: {fault}; the last weights are kept instead of the best", path=str(best), fault=fault))
        return
    checkpoint.load_weights(best, job.model)


def _diverged(job: Job, state: State, micro: list[Batch], loss: float, norm: float) -> TrainingError:
    items = [item for batch in micro for item in batch.items]
    rows = job.batches.describe(items)
    files.write_json(job.folder / "failure.json", {"step": state.step + 1, "loss": str(loss), "grad_norm": str(norm),
                                                  "items": items, "rows": rows})  # fmt: skip
    given = text("loss {loss}, gradient norm {norm}", loss=f"{loss:.6g}", norm=f"{norm:.6g}")
    shown = rows if len(rows) <= 120 else rows[:117] + "…"
    kept = text("lower the learning rate (train.optim.lr), or look at {rows}; the last good checkpoint is kept", rows=shown)
    where = text("{what}: step {step}", what=job.what, step=state.step + 1)
    return TrainingError(where, text("a finite loss and gradient"), given, kept)


class _Stop:
    signal: str | None = None


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """SIGTERM and the first SIGINT ask for a stop after the current step; a second SIGINT is the usual interrupt."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = signal.Signals(number).name

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    before = torch.random.get_rng_state()
    try:
        yield
    finally:
        torch.random.set_rng_state(before)
