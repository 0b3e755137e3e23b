"""What watches over a run: each step's outcome is judged before it counts.

A loss or a gradient that is not finite ends the run, before the optimizer has moved anything: the newest checkpoint is good,
and `failure.json` names the rows that were read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.errors import TrainingError
from yanmo.core.messages import text
from yanmo.objectives.base import Batch
from yanmo.train.step import Outcome


class Guard:
    def judge(self, step: int, outcome: Outcome, micro: list[Batch], describe: Callable[[list[Any]], str], what: str,
              folder: Path) -> None:  # fmt: skip
        """TrainingError for an outcome after which training cannot go on; `step` counts from 1."""
        if outcome.finite:
            return
        items = [item for batch in micro for item in batch.items]
        rows = describe(items)
        files.write_json(folder / "failure.json", {"step": step, "loss": str(outcome.loss), "grad_norm": str(outcome.norm),
                                                   "items": items, "rows": rows})  # fmt: skip
        given = text("loss {loss}, gradient norm {norm}", loss=f"{outcome.loss:.6g}", norm=f"{outcome.norm:.6g}")
        shown = rows if len(rows) <= 120 else rows[:117] + "…"
        kept = text("lower the learning rate (train.optim.lr), or look at {rows}; the last good checkpoint is kept", rows=shown)
        raise TrainingError(text("{what}: step {step}", what=what, step=step), text("a finite loss and gradient"), given, kept)
