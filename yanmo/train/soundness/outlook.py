"""How long a training will take and how much energy, from letting it take a small step or two."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from yanmo.core.energy import Meter
from yanmo.core.registry import create
from yanmo.train.job import Job
from yanmo.train.plan.memory import state_of
from yanmo.train.plan.rehearsal import first_rows
from yanmo.train.plan.speed import Speed
from yanmo.train.randomness import own_random_numbers, seeded
from yanmo.train.soundness import doctor
from yanmo.train.soundness.finding import Finding, Patient
from yanmo.train.soundness.trial import Trial, passes
from yanmo.train.step import forward_of, update

LONG = 2.0  # seconds of a step


def outlook(patient: Patient, work: float) -> tuple[dict[str, Any], list[Finding]]:
    """({"parameters", "seconds", "joules", "energy", "settings", "state_bytes"}, what trying found). The model is made; steps
    are tried on as few rows as keep the trial at about `work` operations; it is thrown away."""
    plan = patient.plan
    device = torch.device(plan["device"])
    with own_random_numbers():
        model = patient.build().to(device)
    assert patient.batches is not None
    job = Job(model, patient.objective, patient.batches, create("optimizer", plan["optimizer"]).make(model),
              create("schedule", plan["schedule"]), patient.steps, Path(), 0, device, plan["precision"])  # fmt: skip
    tried = doctor.attempt(Trial(patient.where, job, rows=rows_for(model, patient, work)))
    speed, joules, method = _measured(job, patient, work)
    seconds = speed.seconds(patient.steps, 1)
    part: Any = getattr(getattr(model, "backbone", model), "part", None)
    told = part.describe() if hasattr(part, "describe") else {}
    seen = {"seconds": round(seconds, 4), "joules": None if joules is None else round(joules * seconds, 4), "energy": method,
            "settings": told, "state_bytes": state_of(model, patient.context),
            "parameters": sum(p.numel() for p in model.parameters())}  # fmt: skip
    return seen, tried


def rows_for(model: torch.nn.Module, patient: Patient, work: float) -> int:
    """Rows of a micro-batch that take about `work` operations: six for each weight and token."""
    weights = max(1, sum(p.numel() for p in model.parameters() if p.ndim > 1))
    tokens = max(1, int(work / (6 * weights)))
    return max(1, min(int(patient.plan["micro_rows"]), tokens // max(1, patient.context or 64)))


def _measured(job: Job, patient: Patient, work: float) -> tuple[Speed, float | None, str]:
    """(seconds of a step's passes and of its end, joules a second, how that is known)."""
    forward, rows = forward_of(job), rows_for(job.model, patient, work)
    with own_random_numbers():
        micro, _ = job.batches.take((0, 0), seeded(0, 0))
        few = [first_rows(micro[0], rows)]
        plain, inside = job.optimizer.step, [0.0]

        def step(*args: Any, **kwargs: Any) -> Any:
            begun = time.monotonic()
            made = plain(*args, **kwargs)
            inside[0] = time.monotonic() - begun
            return made

        job.optimizer.step = step  # type: ignore[method-assign]
        found = []
        update(job, forward, few, seeded(0, 0))
        meter = Meter()
        for index in range(2):
            begun = time.monotonic()
            update(job, forward, few, seeded(0, 1 + index))
            found.append((time.monotonic() - begun - inside[0], inside[0]))
            if time.monotonic() - begun > LONG:
                break  # long enough to be measured well
        told = meter.read()
        job.optimizer.step = plain  # type: ignore[method-assign]
    joules = None if told["joules"] is None else told["joules"] / max(told["seconds"], 1e-3)
    return Speed(min(a for a, _ in found) * passes(job, few[0]), min(b for _, b in found)), joules, told["method"]
