"""MLflow: a folder of its own below the stage, or a tracking server where one is named.

MLflow 3 keeps its folders "in maintenance" and asks for a variable before it writes one; a database would need SQLAlchemy and
be one file for all runs, which a run directory that can be moved must not have. Its reports of use are off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from yanmo.core.extras import needed
from yanmo.train.records.record import Record, Title

BUFFERED = 200  # figures that are kept before they are written; the server's limit for one call is 1,000
SECONDS = 5.0  # after which they are written all the same


class MlflowRecord(Record):
    """MLflow: a folder for `mlflow server --backend-store-uri`, or a tracking server.

    `uri`: the server's address; nothing: the folder. A run that goes on after a kill appears on a server as a run of its own."""

    type: str = "mlflow"
    module: ClassVar[str] = "mlflow"
    extra: ClassVar[str] = "mlflow"
    uri: str | None = None

    def open(self, folder: Path, title: Title) -> MlflowRun:
        return MlflowRun(self, folder, title)


class MlflowRun:
    def __init__(self, part: MlflowRecord, folder: Path, title: Title):
        (folder / ".trash").mkdir(parents=True)  # as MLflow would: it makes none where it has met this folder before
        with _allowed():
            tracking: Any = needed("mlflow.tracking", "mlflow", "train.records")
            self._entities: Any = needed("mlflow.entities", "mlflow", "train.records")
            self._client = tracking.MlflowClient(tracking_uri=part.uri or folder.resolve().as_uri())
            known = self._client.get_experiment_by_name(title.run)
            experiment = known.experiment_id if known else self._client.create_experiment(title.run)
            self._run = self._client.create_run(experiment, run_name=title.stage).info.run_id
            for name, value in _leaves(title.plan or {}):
                self._client.log_param(self._run, name, value)
        self._held: list[Any] = []
        self._written = time.monotonic()

    def write(self, step: int, when: float, figures: dict[str, float]) -> None:
        self._held += [self._entities.Metric(name, value, int(1000 * when), step) for name, value in figures.items()]
        if len(self._held) >= BUFFERED or time.monotonic() - self._written > SECONDS:
            self._flush()

    def close(self, finished: bool) -> None:
        self._flush()
        with _allowed():
            self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")

    def _flush(self) -> None:
        with _allowed():
            for start in range(0, len(self._held), BUFFERED):
                self._client.log_batch(self._run, metrics=self._held[start : start + BUFFERED])
        self._held, self._written = [], time.monotonic()


@contextmanager
def _allowed() -> Iterator[None]:
    """MLflow's own switches, while it works: its folders allowed, its reports of use off unless the user wants them."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    before = os.environ.get("MLFLOW_ALLOW_FILE_STORE")
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLFLOW_ALLOW_FILE_STORE"]
        else:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = before


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """'model.depth' → '2': MLflow's parameters are flat, and short."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", str(value)[:250]
