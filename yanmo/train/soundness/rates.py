"""The learning rate, held against the band in which this kind of optimizer is known to work at this width.

The middle of the band is the optimizer's own default at that width (`filled`). Its upper ends, eight and fifty times that,
are judgements and not measurements; the lower end is arithmetic: steps that all together cannot carry a weight anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.train.optimizers.groups import WIDTH
from yanmo.train.soundness.finding import DOOMED, SOUND, WARN, Finding, Patient

HIGH, RUINOUS = 8.0, 50.0  # times the default
MOVES = 1e-4  # how far all the steps together must be able to carry a weight; fresh ones differ by 0.02
BOUNDED = ("adamw", "muon", "lion")  # no step moves a weight by more than about the rate


def learning_rate(patient: Patient) -> Iterator[Finding]:
    given = create("optimizer", patient.plan["optimizer"])
    width = int(patient.plan.get("model", {}).get("width") or patient.width or WIDTH)
    rates = [name for name in type(given).model_fields if name == "lr" or name.endswith("_lr")]
    open_ = given.model_copy(update=dict.fromkeys(rates)).filled(width)
    schedule = create("schedule", patient.plan["schedule"])
    length = sum(schedule.factor(step, patient.steps) for step in range(patient.steps))
    for name in rates:
        rate, usual = getattr(given, name), getattr(open_, name)
        if rate is None or not usual:
            continue
        ratio = rate / usual
        figures = {"rate": rate, "usual": usual, "ratio": round(ratio, 4), "width": width}
        where = f"{patient.where}.train.optim.{name}"
        near = text("about {usual} for {optimizer} at width {width}", usual=f"{usual:.2g}", optimizer=given.type, width=width)
        remedy = text("leave '{name}' out, or choose one nearer to it", name=name)
        if ratio > HIGH:
            yield Finding(DOOMED if ratio > RUINOUS else WARN, where, near, f"{rate:g}", remedy, figures)
        elif given.type in BOUNDED and rate * length < MOVES:
            moved = text("{rate}: all {steps} steps together move a weight by {moved} at most", rate=f"{rate:g}",
                         steps=patient.steps, moved=f"{rate * length:.1g}")  # fmt: skip
            yield Finding(DOOMED, where, near, moved, remedy, figures)
        else:
            yield Finding(SOUND, where, figures=figures)
