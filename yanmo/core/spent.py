"""What a stage takes, over all its tries: written down every few seconds, as a kill gives no notice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.energy import Meter, weaker

SPENT = "spent.json"  # in a stage's folder until it is finished
EVERY = 5.0  # seconds


@contextmanager
def counted(folder: Path, every: float = EVERY) -> Iterator[Callable[[], dict[str, Any]]]:
    """What `Meter.read` tells from now on, added to what tries before this one took that ended without a manifest."""
    path, meter = folder / SPENT, Meter()
    before = files.read_json(path) if path.is_file() else None
    one, over = threading.Lock(), threading.Event()

    def read() -> dict[str, Any]:
        with one:
            return added(before, meter.read())

    def keep() -> None:
        with suppress(OSError):  # a full disk is the stage's to tell
            files.write_json(path, read())

    def go_on() -> None:
        while not over.wait(every):
            keep()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield read
    finally:
        over.set()
        thread.join()
        keep()


def added(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Two readings of a `Meter` as one: of what one of them does not know, nothing is known."""
    if before is None:
        return now
    sums = {key: None if before[key] is None or now[key] is None else round(before[key] + now[key], 3)
            for key in ("seconds", "cpu_seconds", "joules")}  # fmt: skip
    return {**sums, "method": weaker(before["method"], now["method"])}
