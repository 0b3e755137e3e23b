"""The training loop: one step is all of it, in the order it runs.

    rows → micro-batches → forward, backward → clip → step → judge → metrics → (checkpoint → validate)

Everything that a step depends on is either in the checkpoint or follows from (seed, step): a run that was killed at any
moment goes on from its newest checkpoint and ends with the bytes of one that was not.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from yanmo.core import files
from yanmo.core.messages import text
from yanmo.train import checkpoint
from yanmo.train.checkpoint import State
from yanmo.train.job import Job
from yanmo.train.metrics import MetricsLog
from yanmo.train.optim import set_rates
from yanmo.train.precision import autocast
from yanmo.train.randomness import own_random_numbers, seeded
from yanmo.train.step import Aside, Carried, forward_of, update
from yanmo.train.stop import Stopped, stopping


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
        stopping() as stop,
        own_random_numbers(),
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
            outcome = update(job, forward, micro, rng, aside)
            job.guard.judge(state.step + 1, outcome, micro, job.batches.describe, job.what, job.folder)
            state.step, state.cursor, carried = state.step + 1, cursor, aside.carried()
            state.tokens += sum(batch.inputs.tokens.numel() for batch in micro)
            state.seconds = time.monotonic() - began
            if job.compile and state.step == first:
                job.console.log(text("{what}: the first step, with its compilation, took {seconds} s", what=job.what,
                                     seconds=f"{time.monotonic() - started:.1f}"))  # fmt: skip
            speed = sum(batch.inputs.tokens.numel() for batch in micro) / (time.monotonic() - started)
            log.write(step=state.step, loss=outcome.loss, lr=job.optimizer.param_groups[0]["lr"], grad_norm=outcome.norm,
                      tokens=state.tokens, tokens_per_second=round(speed, 1), seconds=round(state.seconds, 3),
                      **aside.metrics())  # fmt: skip
            bar.advance(1, loss=outcome.loss, **{"tokens/s": round(speed)})
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
