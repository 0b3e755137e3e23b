"""Room: in memory, and on the disk for what is saved."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.objectives.base import Batch
from yanmo.train.plan import memory
from yanmo.train.randomness import own_random_numbers, seeded
from yanmo.train.soundness.amounts import size
from yanmo.train.soundness.finding import DOOMED, NOTE, SOUND, WARN, Finding, Patient

TIGHT = 0.85  # of what is free


def fits(patient: Patient) -> Iterator[Finding]:
    """Whether the training fits in memory."""
    if patient.batches is None:
        return
    device, average = torch.device(patient.plan["device"]), patient.train.average
    need = patient.memory = memory.needed(
        patient.model if patient.model is not None else patient.build, create("optimizer", patient.plan["optimizer"]),
        patient.objective, heaviest(patient), patient.plan["precision"], device,
        averages=getattr(average, "copies", 0), checkpoints=True)  # fmt: skip
    have = memory.available(device)
    figures = {**need.figures(), "available": have}
    where = f"{patient.where}.train.micro_tokens"
    room = text("a training that fits in the {size} that are free", size=size(have))
    if need.peak > TIGHT * have:
        remedy = text("train a smaller model, or one with an optimizer that remembers less")
        if need.stays < 0.7 * have:
            remedy = text("set train.micro_tokens to {tokens} or less", tokens=_micro(patient, have))
        elif need.live < TIGHT * have:
            remedy = text("set {name}=65536 in the environment: slower, and it takes {size}", name=memory.ALONE,
                          size=size(need.live))  # fmt: skip
        given = text("{peak}: parameters {parameters}, gradients {gradients}, optimizer {optimizer}, activations {activations}",
                     peak=size(need.peak), parameters=size(need.parameters), gradients=size(need.gradients),
                     optimizer=size(need.optimizer), activations=size(need.activations))  # fmt: skip
        yield Finding(DOOMED if need.peak > have else WARN, where, room, given, remedy, figures)
    else:
        yield Finding(SOUND, where, figures=figures)


def _micro(patient: Patient, have: int) -> int:
    """Tokens of a micro-batch that would fit: activations grow with them."""
    assert patient.memory is not None
    batch = heaviest(patient)[0].inputs.tokens
    stays = patient.memory.stays
    share = max(0.0, TIGHT * have - stays) / max(patient.memory.peak - stays, 1)
    rows = max(1, int(share * len(batch)))
    return rows * batch.shape[1]


def heaviest(patient: Patient) -> list[Batch]:
    """Up to two micro-batches of the step that holds most: of a stream all are alike, labelled rows differ in length."""
    assert patient.batches is not None
    cursor = (0, 0)
    if patient.labelled is not None:
        lengths = np.array([len(row.tokens) for row in patient.labelled.rows])
        epoch = patient.batches.epoch(0)  # type: ignore[attr-defined]
        cursor = (0, int(np.argmax([len(chosen) * lengths[chosen].max() for chosen in epoch])))
    with own_random_numbers():
        made, _ = patient.batches.take(cursor, seeded(0, 0))
    return sorted(made, key=lambda batch: -batch.inputs.tokens.numel())[:2]


def disk(patient: Patient) -> Iterator[Finding]:
    """Room for the checkpoints that are kept, the best one, and the one being written."""
    need = patient.memory
    if need is None:
        return
    each = need.parameters + need.optimizer + need.average
    count = patient.train.keep + 2
    place = next(folder for folder in (patient.folder, *patient.folder.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free + _there(patient.folder)
    figures = {"checkpoint": each, "checkpoints": count, "free": free}
    where = f"{patient.where}.train.keep"
    if each * count > TIGHT * free:
        yield Finding(DOOMED if each * count > free else WARN, where,
                      text("checkpoints that fit in the {size} that are free on the disk", size=size(free)),
                      text("{count} of {each}", count=count, each=size(each)),
                      text("keep fewer (train.keep), free some space, or give another place with --run-dir DIR"),
                      figures)  # fmt: skip
    else:
        yield Finding(SOUND, where, figures=figures)


def _there(folder: Path) -> int:
    """Bytes of the checkpoints that lie there already and make room for new ones."""
    return sum(path.stat().st_size for path in folder.glob("checkpoints/*/*") if path.is_file())


def precision(patient: Patient) -> Iterator[Finding]:
    """A format that this machine computes in no faster than in fp32."""
    from yanmo.train.machine.precision import native_bfloat16

    asked = patient.train.precision
    if asked and asked != "fp32" and patient.plan["device"] == "cpu" and not native_bfloat16():
        yield Finding(WARN, f"{patient.where}.train.precision", text("a format that this processor multiplies in"),
                      text("{precision}, which it has no instructions for", precision=asked),
                      text("leave 'precision' out, or use fp32: it is faster here"))  # fmt: skip
    elif asked:
        yield Finding(SOUND, f"{patient.where}.train.precision")
    elif patient.plan["precision"] != "fp32":
        yield Finding(NOTE, f"{patient.where}.train.precision", figures={"precision": patient.plan["precision"]})

