"""What watches over a run: each step's outcome is judged before it counts.

A loss or a gradient that is not finite ends the run, before the optimizer has moved anything: the step is done once more to
find the layer where it begins (`diagnosis.py`), `failure.json` names that layer, the likely cause, the rows and the
documents behind them, and the last good state is kept as a checkpoint.

With `spikes`, a step whose loss or gradient norm stands far above those before it is passed over: its rows are read, and the
parameters stay. What the figures are compared with is part of a checkpoint, so that a run that goes on passes over the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from yanmo.core import files
from yanmo.core.errors import TrainingError
from yanmo.core.messages import text

if TYPE_CHECKING:
    from yanmo.objectives.base import Batch
    from yanmo.train.diagnosis import Diagnosis
    from yanmo.train.job import Job
    from yanmo.train.settings import Spikes
    from yanmo.train.step import Outcome

FAILURE = "failure.json"
RECENT = 16  # losses that are looked at to see whether they had been rising
SMALLEST = 0.02  # of the median: what losses differ by at least, where they are all but equal


class Guard:
    """`settings`: whether and how spikes are passed over. `skipped`: how many were; `in_a_row`: the last ones of them."""

    def __init__(self, settings: Spikes | None = None):
        self.settings = settings
        window = settings.window if settings else RECENT
        self.losses: deque[float] = deque(maxlen=window)  # of the steps that counted, oldest first
        self.norms: deque[float] = deque(maxlen=window)
        self.skipped = self.in_a_row = 0

    # -------------------------------------------------------------------------------------------------- in a checkpoint

    def state(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "norms": list(self.norms), "skipped": self.skipped, "in_a_row": self.in_a_row}

    def restore(self, state: dict[str, Any]) -> None:
        self.losses.extend(state.get("losses", ()))
        self.norms.extend(state.get("norms", ()))
        self.skipped, self.in_a_row = state.get("skipped", 0), state.get("in_a_row", 0)

    # ---------------------------------------------------------------------------------------------------------- a step

    def spikes(self, outcome: Outcome) -> bool:
        """Whether a finite outcome is one to pass over. Needs a full window to compare with."""
        if self.settings is None or len(self.losses) < self.settings.window:
            return False
        far = self.settings.deviations
        return outcome.loss > bound(self.losses, far) or outcome.norm > bound(self.norms, far)

    def judge(self, job: Job, step: int, outcome: Outcome) -> bool:
        """Takes note of the step (counted from 1); False for an outcome after which training cannot go on.

        TrainingError where one step after the other is passed over: what has grown so far is no spike."""
        if outcome.skipped is not None:
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
            if outcome.skipped == "spike":
                self._too_many(job, step, outcome)
            return True
        if outcome.finite:
            self.in_a_row = 0
            self.losses.append(outcome.loss)
            self.norms.append(outcome.norm)
        return outcome.finite

    def _too_many(self, job: Job, step: int, outcome: Outcome) -> None:
        assert self.settings is not None
        job.console.log(text("{what}: step {step} passed over: loss {loss}, gradient norm {norm}; usual are up to {losses} and "
                             "{norms}", what=job.what, step=step, loss=f"{outcome.loss:.4g}", norm=f"{outcome.norm:.4g}",
                             losses=f"{bound(self.losses, self.settings.deviations):.4g}",
                             norms=f"{bound(self.norms, self.settings.deviations):.4g}"))  # fmt: skip
        if self.in_a_row >= self.settings.in_a_row:
            raise TrainingError(text("{what}: step {step}", what=job.what, step=step), text("a spike that passes"),
                                text("{count} steps in a row far above those before", count=self.in_a_row),
                                text("go back to an earlier checkpoint and lower the learning rate "
                                     "(train.optim.lr)"))  # fmt: skip

    def rising(self) -> bool:
        """Whether the recent losses had been growing before the failure."""
        recent = list(self.losses)[-RECENT:]
        half = len(recent) // 2
        return half >= 2 and median(recent[half:]) > 1.05 * median(recent[:half])

    # ----------------------------------------------------------------------------------------------------- at a failure

    def fail(self, job: Job, step: int, outcome: Outcome, micro: list[Batch], found: Diagnosis, kept: int) -> TrainingError:
        """Writes failure.json and gives the error to raise; `kept`: the step of the last good checkpoint."""
        items = [item for batch in micro for item in batch.items]
        guilty = found.items or items
        rows = job.batches.describe(guilty)
        record = {"step": step, "loss": str(outcome.loss), "grad_norm": str(outcome.norm), "precision": job.precision,
                  "cause": found.cause.render("en"), "first": found.what, "layer": found.layer, "dtype": found.dtype,
                  "largest_before": found.largest, "rows_alone_not_finite": found.items, "last_good_step": kept,
                  "losses_before": list(self.losses), "items": items, "rows": job.batches.describe(items)}  # fmt: skip
        if job.origins is not None:
            record["documents"] = job.origins(guilty)
        files.write_json(job.folder / FAILURE, record)
        given = text("loss {loss}, gradient norm {norm}", loss=f"{outcome.loss:.6g}", norm=f"{outcome.norm:.6g}")
        shown = rows if len(rows) <= 120 else rows[:117] + "…"
        remedy = text("{where}: {cause}; {remedy}; rows: {rows}; all of it in {file}; the state of step {kept} is kept",
                      where=found.where, cause=found.cause, remedy=found.remedy, rows=shown,
                      file=str(job.folder / FAILURE), kept=kept)  # fmt: skip
        place = text("{what}: step {step}", what=job.what, step=step)
        return TrainingError(place, text("a finite loss and gradient"), given, remedy)


def bound(values: Sequence[float], deviations: float) -> float:
    """Median + `deviations` · 1.4826 · median absolute deviation: what a normal scatter of these values hardly reaches,
    whatever a few of them are."""
    middle = median(values)
    scatter = 1.4826 * median(abs(value - middle) for value in values)
    return middle + deviations * max(scatter, SMALLEST * abs(middle))
