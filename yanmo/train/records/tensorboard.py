"""TensorBoard event files: protocol buffers in records with a checksum each, no pickle.

Written with TensorBoard's own message and record writer, but not through `torch.utils.tensorboard`: that imports TensorFlow
where it is installed, and holds up to two minutes of points in a thread, which a kill would lose.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from yanmo.core.extras import needed
from yanmo.train.records.record import Record, Title

FLUSH = 2.0  # seconds between flushes


class TensorboardRecord(Record):
    """TensorBoard event files, for `tensorboard --logdir runs`."""

    type: str = "tensorboard"
    module: ClassVar[str] = "tensorboard"
    extra: ClassVar[str] = "train"

    def open(self, folder: Path, title: Title) -> EventFile:
        return EventFile(folder)


class EventFile:
    def __init__(self, folder: Path):
        self._messages: Any = needed("tensorboard.compat.proto.event_pb2", "train", "train.records")
        records = needed("tensorboard.summary.writer.record_writer", "train", "train.records")
        folder.mkdir(parents=True)
        # a name that says nothing of the machine or the day; what TensorBoard looks for is 'tfevents'
        self._records = records.RecordWriter(open(folder / "events.out.tfevents.0.yanmo", "wb"))  # noqa: SIM115 - close()
        self._flushed = time.monotonic()
        self._put(self._messages.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, step: int, when: float, figures: dict[str, float]) -> None:
        event = self._messages.Event(wall_time=when, step=step)
        for name, value in figures.items():
            event.summary.value.add(tag=name, simple_value=value)
        self._put(event)

    def close(self, finished: bool) -> None:
        self._records.close()

    def _put(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        if time.monotonic() - self._flushed > FLUSH:
            self._records.flush()
            self._flushed = time.monotonic()
