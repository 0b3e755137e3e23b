"""The training loop: one step is all of it, in the order it runs.

    rows → micro-batches → forward, backward → clip → step → judge → metrics → (checkpoint → validate)

Everything that a step depends on is either in the checkpoint or follows from (seed, step): a run that was killed at any
moment goes on from its newest checkpoint and ends with the bytes of one that was not.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from yanmo.core.errors import TrainingError
from yanmo.core.messages import text
from yanmo.core.stopped import Stopped
from yanmo.nn.eight import eight_bits
from yanmo.objectives.base import Batch
from yanmo.train import ahead, checkpoint
from yanmo.train.checkpoint import State
from yanmo.train.diagnosis import diagnose
from yanmo.train.horizon import Horizon
from yanmo.train.job import Job
from yanmo.train.machine.precision import autocast, why
from yanmo.train.machine.recompute import recomputed
from yanmo.train.machine.room import Room, exhaustion
from yanmo.train.randomness import Moment, own_random_numbers, seeded
from yanmo.train.records.record import Records
from yanmo.train.step import Aside, Carried, Outcome, forward_of, update
from yanmo.train.stop import stopping
from yanmo.train.writer import Writer


def train(job: Job) -> State:
    """Trains to the end, to the patience, or to a signal; leaves the best validated (else the last) weights in the model.

    Raises TrainingError at the first loss or gradient that is not finite, and where memory runs out for good; Stopped after a
    signal; in each case the newest checkpoint is good.
    """
    checkpoints = job.world.checkpoints(job.folder)
    state, carried = _resume(job, checkpoints)
    room = Room(job.folder, job.console, job.what)
    job.console.log(text("{what}: {precision}", what=job.what, precision=why(job.precision, job.device)))
    with ExitStack() as held:
        held.enter_context(exhaustion(job.what))
        held.enter_context(eight_bits(getattr(job.model, "regions", list)() if job.precision == "fp8" else []))
        held.enter_context(recomputed(job.model, job.recompute, job.what))
        forward = forward_of(job)
        job.model.train()
        stop = held.enter_context(stopping())
        held.enter_context(own_random_numbers())
        log = held.enter_context(Records(job, state))
        writer = held.enter_context(job.world.writer(checkpoints, job.keep, state.best_step, job.console, job.what))
        rows = held.enter_context(ahead.rows(job.batches, state.seed, state.step, state.cursor, job.steps, job.prefetch))
        bar = held.enter_context(job.console.bar(job.what, total=job.steps, unit="steps", done=state.step))
        horizon = job.horizon or Horizon(job.steps)
        horizon.follow(state.step)
        began, first = time.monotonic() - state.seconds, state.step + 1
        while True:
            if job.validate is not None and state.validated < state.step and _due(job.validate_every, state.step, horizon.steps):
                _validate(job, state, log)
                writer.best(state.best_step)
            if state.step >= horizon.steps or state.stopped:
                break
            started = time.monotonic()
            job.world.at("data", state.step + 1)
            seeded(state.seed, state.step)
            micro, cursor, rng = rows.next()
            begun = Moment(rng)
            job.optimizer.begin(horizon.factor(job.schedule, state.step), state.seed, state.step)
            aside = Aside(carried)
            outcome = update(job, forward, micro, rng, aside, job.world.room(room), state.step)
            if not job.guard.judge(job, state.step + 1, outcome):
                begun.again()
                raise _failed(job, state, outcome, carried, micro, rng, writer)
            state.step, state.cursor, carried = state.step + 1, cursor, aside.carried()
            state.tokens += sum(batch.inputs.tokens.numel() for batch in micro)
            state.seconds = time.monotonic() - began
            if job.compile and state.step == first:
                job.console.log(text("{what}: the first step, with its compilation, took {seconds} s", what=job.what,
                                     seconds=f"{time.monotonic() - started:.1f}"))  # fmt: skip
            cost = log.step(micro, time.monotonic() - started, loss=outcome.loss, lr=job.optimizer.param_groups[0]["lr"],
                            grad_norm=outcome.norm if outcome.finite else None, **aside.metrics(),
                            **_unusual(job, outcome, room, state.step))  # fmt: skip
            horizon.look(state.step, log.spent())
            bar.total = horizon.steps
            job.average.follow(job.optimizer, state.step, state.step >= horizon.steps)
            bar.advance(1, loss=outcome.loss, **{"tokens/s": round(cost["tokens_per_second"])},
                        **({"skipped": job.guard.skipped} if job.guard.skipped else {}))  # fmt: skip
            stop.signal = job.world.agree(stop.signal)
            if (
                stop.signal
                or _due(job.checkpoint_every, state.step, horizon.steps)
                or (job.validate is not None and _due(job.validate_every, state.step, horizon.steps))
            ):  # before the validation, so that whatever happens there costs no training
                _save(job, state, carried, writer)
            if stop.signal:
                writer.finish()
                raise Stopped.after(job.what, stop.signal, state.step, horizon.steps)
        writer.finish()
    _said(job, state, writer)
    _keep_best(job, state, checkpoints)
    job.average.put(job.optimizer)
    job.model.eval()
    return state


def _due(every: int | None, step: int, steps: int) -> bool:
    return step == steps or (every is not None and step > 0 and step % every == 0)


def _made_for(job: Job) -> dict[str, Any]:
    """What a checkpoint belongs to, beside the model's own shapes: another of these is another training."""
    groups = ", ".join(f"{group.get('name', '')} {len(group['params'])}" for group in job.optimizer.param_groups)
    return {"seed": job.seed, "optimizer": f"{type(job.optimizer).__name__} ({groups})",
            "objective": str(getattr(job.objective, "type", type(job.objective).__name__)),
            "precision": job.precision}  # fmt: skip


def _save(job: Job, state: State, carried: Carried, writer: Writer) -> None:
    began = time.monotonic()
    state.scaler = job.scaler.state_dict() if job.scaler is not None else None
    state.guard = job.guard.state()
    job.world.at("checkpoint")
    writer.save(job.world.snapshot(state, job.model, job.optimizer, carried, _made_for(job)), began)


def _resume(job: Job, checkpoints: Path) -> tuple[State, Carried]:
    newest = job.world.newest(lambda: checkpoint.newest(checkpoints, job.console))
    if newest is None:
        return State(seed=job.seed), None
    state = job.world.restore(newest, job.model, job.optimizer, _made_for(job))
    if job.scaler is not None and state.scaler is not None:
        job.scaler.load_state_dict(state.scaler)
    job.guard.restore(state.guard)
    job.console.log(text("{what}: goes on from step {step}", what=job.what, step=state.step))
    return state, checkpoint.carried(newest, job.device)


def _unusual(job: Job, outcome: Outcome, room: Room, step: int) -> dict[str, Any]:
    """What a line of metrics says of a step that did not go the usual way."""
    found: dict[str, Any] = {}
    if outcome.skipped is not None:
        found["skipped"] = outcome.skipped
    if room.parts(step - 1) > 1:
        found["micro_parts"] = room.parts(step - 1)
    if job.scaler is not None:
        found["scale"] = job.scaler.get_scale()
    return found


def _failed(job: Job, state: State, outcome: Outcome, carried: Carried, micro: list[Batch], rng: torch.Generator,
            writer: Writer) -> TrainingError:  # fmt: skip
    """What to raise for a step that is not finite: where it begins, and why; the state before it is kept."""
    found = diagnose(job, micro, rng, job.guard.rising(), carried)
    writer.wait()
    if found.what != "weights" and state.step > 0:
        _save(job, state, carried, writer)
        writer.finish()
    kept = checkpoint.newest(job.folder / "checkpoints")
    return job.guard.fail(job, state.step + 1, outcome, micro, found, int(kept.name.rpartition("-")[2]) if kept else 0)


def _validate(job: Job, state: State, log: Records) -> None:
    assert job.validate is not None
    job.model.eval()
    eager = torch.compiler.set_stance("force_eager")  # many shapes
    with job.average.shown(job.optimizer), torch.no_grad(), autocast(job.precision, job.device), eager:
        job.world.at("validate")
        verdict = job.world.same(job.validate())
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


def _said(job: Job, state: State, writer: Writer) -> None:
    """What is worth a line at the end."""
    if job.guard.skipped:
        job.console.log(text("{what}: {count} of {steps} steps were passed over", what=job.what, count=job.guard.skipped,
                             steps=state.step))  # fmt: skip
    if writer.seconds > 1:
        share = 1 - min(writer.waited, writer.seconds) / writer.seconds
        job.console.log(text("{what}: checkpoints took {seconds} s to write, {share} of it while training went on", what=job.what,
                             seconds=f"{writer.seconds:.1f}", share=f"{share:.0%}"))  # fmt: skip


def _keep_best(job: Job, state: State, checkpoints: Path) -> None:
    """The best validated weights instead of the last, where they are others."""
    if state.best_step in (-1, state.step):
        return
    best = checkpoints / checkpoint.name_of(state.best_step)
    fault = checkpoint.broken(best)
    if fault is not None:
        job.console.warn(text("{path}: {fault}; the last weights are kept instead of the best", path=str(best), fault=fault))
        return
    job.world.restore(best, job.model, job.optimizer, _made_for(job))  # with what belongs to them: a posterior, an average
