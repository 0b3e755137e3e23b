"""Checkpoints written behind the training's back.

`save` copies what is to be written and returns; a thread writes, hashes, flushes and renames it, and removes what is no
longer kept. One checkpoint is written at a time: the next one, the end and a stop wait for it. What the training waits for
is thus the copy alone, for a second set of the tensors in memory.

A full disk does not end the training: it is said in one line, the older checkpoints stay, and the next one that is due is
tried again. Only what nothing would follow is an error: the last checkpoint, that of the end or of a stop.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

from yanmo.core.console import Console
from yanmo.core.errors import StorageError
from yanmo.core.messages import text
from yanmo.train.checkpoint import Snapshot, name_of, prune, write


class Writer:
    """`seconds`: of writing; `waited`: of them, those that training stood still for, copies included."""

    def __init__(self, folder: Path, keep: int, best_step: int = -1, console: Console | None = None, what: str = "training"):
        self.folder, self.keep, self.console, self.what = folder, keep, console or Console(), what
        self.best_step = best_step  # never pruned
        self.seconds = self.waited = 0.0
        self._thread: threading.Thread | None = None
        self._failed: Snapshot | None = None
        self._fault: BaseException | None = None

    def save(self, held: Snapshot, began: float | None = None) -> None:
        """Begins to write; `began`: time.monotonic() when the copy was begun."""
        began = time.monotonic() if began is None else began
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(held,), name="yanmo-checkpoint")
        self._thread.start()
        self.waited += time.monotonic() - began

    def _write(self, held: Snapshot) -> None:
        began = time.monotonic()
        try:
            write(self.folder, held)
            self._failed = None
        except StorageError as error:
            self._failed = held
            self.console.warn(text("{what}: {error}; training goes on, with the older checkpoints kept", what=self.what,
                                   error=str(error)))  # fmt: skip
        except BaseException as error:  # ours: raised where it is waited for
            self._fault = error
        self.seconds += time.monotonic() - began

    def wait(self) -> None:
        """Until nothing is being written; then removes what is not kept."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        self.prune()

    def best(self, step: int) -> None:
        """The checkpoint of this step is the best one from now on."""
        self.best_step = step
        if self._thread is None or not self._thread.is_alive():
            self.wait()

    def prune(self) -> None:
        """All but the newest and the best; nothing while the best is not on the disk, as then the one before it still is."""
        if self.best_step == -1 or (self.folder / name_of(self.best_step)).is_dir():
            prune(self.folder, self.keep, self.best_step)

    def finish(self) -> None:
        """The last checkpoint is on the disk when this returns; StorageError where it cannot be, even at a second try."""
        began = time.monotonic()
        self.wait()
        if self._failed is not None:
            held, self._failed = self._failed, None
            write(self.folder, held)
            self.prune()
        self.waited += time.monotonic() - began

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.finish()
        elif self._thread is not None:  # an error is on its way: it is the one to be heard of
            self._thread.join()
