"""Weights & Biases. Offline unless asked: a folder that `wandb sync` sends later, from a machine of one's choice.

The library's own reports of errors, its look at the machine and its capture of the console are off: what is written is what
metrics.jsonl holds, and the plan.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import uuid4

from yanmo.core.extras import needed
from yanmo.train.records.record import Record, Title


class WandbRecord(Record):
    """Weights & Biases: a folder for `wandb sync`, or straight to the server.

    `mode`: 'online' sends as it trains; a run that goes on after a kill then appears there as a run of its own, as what was
    sent cannot be taken back. `entity`: the user or team, 'online' alone."""

    type: str = "wandb"
    module: ClassVar[str] = "wandb"
    extra: ClassVar[str] = "wandb"
    mode: Literal["offline", "online"] = "offline"
    project: str = "yanmo"
    entity: str | None = None

    def open(self, folder: Path, title: Title) -> WandbRun:
        return WandbRun(self, folder, title)


class WandbRun:
    def __init__(self, part: WandbRecord, folder: Path, title: Title):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before the import
        wandb: Any = needed("wandb", "wandb", "train.records")
        folder.mkdir(parents=True)
        settings = wandb.Settings(
            silent=True, console="off", symlink=False, disable_code=True, disable_git=True, save_code=False,
            x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
        )  # fmt: skip
        self._run = wandb.init(
            project=part.project, entity=part.entity, dir=str(folder), id=uuid4().hex[:8], name=f"{title.run}/{title.stage}",
            group=title.run, job_type=title.stage, config=title.plan or {}, mode=part.mode, reinit="create_new",
            settings=settings,
        )  # fmt: skip
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, when: float, figures: dict[str, float]) -> None:
        self._run.log({"step": step, "_timestamp": when, **figures})

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
