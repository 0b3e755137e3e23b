"""The doctor: looks at a training before its first step, and refuses one that is doomed, with the reason.

`yanmo check` asks it about every training of a recipe; every training asks it as it begins, and `yanmo run --force` goes on
against its advice. What it looks for are the ways in which trainings are known to be lost: memory that runs out, a rate that
ruins, rows without anything to learn, held-out text that is trained on, settings that change nothing. Each examination is a
function of the patient in a file of this room, all of them stand in the table below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from yanmo.core.console import Console
from yanmo.core.errors import RequestError, TrainingError, YanmoError
from yanmo.core.messages import text
from yanmo.train.job import Job
from yanmo.train.soundness import fit, labels, length, rates, room, rows, trial
from yanmo.train.soundness import text as words
from yanmo.train.soundness.amounts import energy, size
from yanmo.train.soundness.finding import DOOMED, VERDICTS, WARN, Finding, Patient
from yanmo.train.soundness.trial import Trial

EXAMINATIONS: dict[str, Callable[[Patient], Iterator[Finding]]] = {
    "schedule": length.schedule,
    "flags": length.flags,
    "repetitions": length.repetitions,
    "learning_rate": rates.learning_rate,
    "tokenizer": fit.tokenizer,
    "objective": fit.objective,
    "enough_text": words.enough,
    "held_out": words.held_out,
    "vocabulary": words.vocabulary,
    "overlap": words.overlap,
    "classes": labels.classes,
    "contradictions": labels.contradictions,
    "leakage": labels.leakage,
    "validation_rows": labels.validation,
    "truncation": labels.truncation,
    "rendering": fit.rendering,
    "template": fit.template,
    "trained_tokens": rows.trained,
    "precision": room.precision,
    "memory": room.fits,
    "disk": room.disk,
}
TRIALS: dict[str, Callable[[Trial], Iterator[Finding]]] = {"leak": trial.leak, "first_pass": trial.first_pass}


def examine(patient: Patient) -> list[Finding]:
    """What every examination found, in the order of the table; an error that one met is a finding of its own."""
    found: list[Finding] = []
    for name, look in EXAMINATIONS.items():
        if name == "memory" and any(one.examination == "objective" and one.verdict == DOOMED for one in found):
            continue  # a step that the objective cannot make is not rehearsed
        found += _named(name, look, patient)
    return found


def attempt(tried: Trial) -> list[Finding]:
    """What the model itself shows, once it is made and its training is ready to begin."""
    return [found for name, look in TRIALS.items() for found in _named(name, look, tried)]


def named(name: str, patient: Patient) -> list[Finding]:
    """What one examination found."""
    return list(_named(name, EXAMINATIONS[name], patient))


def _named(name: str, look: Callable[[Any], Iterator[Finding]], of: Any) -> Iterator[Finding]:
    try:
        for found in look(of):
            yield replace(found, examination=name)
    except RequestError as error:
        yield Finding(DOOMED, error.where, error.expected, error.given, error.remedy, examination=name, kind=type(error))


def worst(findings: list[Finding]) -> str:
    """The gravest verdict among findings."""
    return max((found.verdict for found in findings), key=VERDICTS.index, default=VERDICTS[0])


def admit(findings: list[Finding], console: Console, where: str, folder: Path, force: bool) -> None:
    """Says what is wrong; RequestError for the first finding that dooms the training, unless it is forced. A training that
    has left checkpoints is refused as work that failed, so that they stay."""
    doomed = [found for found in findings if found.verdict == DOOMED]
    for found in findings:
        if found.verdict == WARN or (found.verdict == DOOMED and (force or found is not doomed[0])):
            console.warn(f"{where}: {found.line()}")
    if not doomed:
        return
    if force:
        console.warn(text("{stage}: {count} reasons to refuse it; forced, it goes on", stage=where, count=len(doomed)))
        return
    first = doomed[0]
    kind: type[YanmoError] = TrainingError if any(folder.glob("checkpoints/step-*")) else first.kind
    remedy = first.remedy
    more = text("or go on with --force")
    remedy = more if remedy is None else text("{remedy}; {more}", remedy=remedy, more=more)
    raise kind(first.where, first.expected, first.given, remedy)


def begin(job: Job, patient: Patient, console: Console, force: bool) -> None:
    """The last look, with the model made and everything ready: tries it, says what it will take, refuses what is doomed."""
    if job.world.size > 1:
        return  # a pass forwards and backwards is the work of all processes
    tried = Trial(patient.where, job, patient.memory)
    admit(attempt(tried), console, patient.where, patient.folder, force)
    if tried.seconds is None:
        return
    seconds = tried.seconds * tried.passes * patient.steps
    joules = None if tried.joules is None else tried.joules / max(tried.seconds, 1e-9) * seconds
    console.log(text("{stage}: about {memory} of memory, {minutes} minutes or less, {energy} ({method})", stage=patient.where,
                     memory=size(patient.memory.peak) if patient.memory else "?", minutes=f"{seconds / 60:.1f}",
                     energy="?" if joules is None else energy(joules), method=text(tried.measured)))  # fmt: skip

