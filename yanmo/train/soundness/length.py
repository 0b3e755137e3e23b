"""How long a training is, and what it asks for on the way: schedule, validations, checkpoints, repetitions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.train.soundness.finding import DOOMED, NOTE, SOUND, WARN, Finding, Patient

PEAK = 0.999  # of the peak rate: reached
REPEATS = 16.0  # epochs from which a text has little new to give (Muennighoff et al. 2023, figure 3)


def schedule(patient: Patient) -> Iterator[Finding]:
    """Whether the learning rate ever gets to its peak."""
    made = create("schedule", patient.plan["schedule"])
    factors = [made.factor(step, patient.steps) for step in range(patient.steps)]
    highest, rising = max(factors), sum(b > a for a, b in pairwise(factors))
    figures = {"steps": patient.steps, "highest": round(highest, 4), "rising": rising}
    where, warmup = f"{patient.where}.train.schedule.warmup", getattr(made, "warmup", None)
    remedy = text("lower 'warmup', or train for more steps")
    if highest < PEAK and warmup and warmup >= 1:
        yield Finding(DOOMED, where, text("fewer steps than the training's {steps}", steps=patient.steps),
                      text("{warmup}: the learning rate never leaves the warm-up", warmup=f"{warmup:g}"), remedy,
                      figures)  # fmt: skip
    elif rising > 0.5 * patient.steps and patient.steps > 3:
        yield Finding(WARN, where, text("a rise over less than half of the steps"),
                      text("{rising} of {steps} steps", rising=rising, steps=patient.steps), remedy, figures)  # fmt: skip
    else:
        yield Finding(SOUND, where, figures=figures)


def flags(patient: Patient) -> Iterator[Finding]:
    """Settings that the training would read and that change nothing."""
    train, plan, steps = patient.train, patient.plan, patient.steps
    validates = len(patient.held_out or ()) if patient.labelled is None else len(patient.labelled.held_out)
    every = plan["validate_every"]
    validations = -(-steps // every)
    if train.patience and validates and train.patience >= validations:
        yield Finding(
            DOOMED, f"{patient.where}.train.patience", text("fewer than the training's {count} validations", count=validations),
            text("{patience}, which never stops it", patience=train.patience),
            text("lower 'patience' or 'validate_every', or leave 'patience' out"),
            {"patience": train.patience, "validations": validations})  # fmt: skip
    for name in ("validate_every", "checkpoint_every"):
        asked = getattr(train, name)
        if asked and asked > steps and (validates or name != "validate_every"):
            yield Finding(WARN, f"{patient.where}.train.{name}", text("at most the {steps} steps of the training", steps=steps),
                          text("{asked}: only the last step has one", asked=asked),
                          figures={"asked": asked, "steps": steps})  # fmt: skip
    batch = plan.get("batch_tokens")
    if train.micro_tokens and batch and train.micro_tokens > batch:
        yield Finding(WARN, f"{patient.where}.train.micro_tokens", text("at most the batch's {tokens} tokens", tokens=batch),
                      str(train.micro_tokens), text("it has no effect: leave it out"),
                      {"micro_tokens": train.micro_tokens, "batch_tokens": batch})  # fmt: skip
    warmup = getattr(train.schedule, "warmup", None)
    if train.schedule is not None and warmup and 0 < warmup < 1 and round(warmup * steps) == 0:
        yield Finding(NOTE, f"{patient.where}.train.schedule.warmup", text("a share that comes to one step or more"),
                      text("{warmup} of {steps} steps", warmup=warmup, steps=steps), figures={"steps": steps})  # fmt: skip


def repetitions(patient: Patient) -> Iterator[Finding]:
    """How often the text is repeated; a classifier's rows are, with the best epoch kept."""
    if patient.split is None:
        return
    epochs = patient.steps * patient.plan["batch_tokens"] / max(patient.text_tokens, 1)
    figures: dict[str, Any] = {"epochs": round(epochs, 3), "text_tokens": patient.text_tokens}
    if epochs > REPEATS:
        yield Finding(WARN, f"{patient.where}.train", text("at most {count} repetitions of the text", count=f"{REPEATS:g}"),
                      f"{epochs:.1f}", text("train for fewer steps, or on more text"), figures)  # fmt: skip
    else:
        yield Finding(SOUND, f"{patient.where}.train", figures=figures)
