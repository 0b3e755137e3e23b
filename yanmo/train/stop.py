"""SIGTERM and SIGINT end a training after the step at hand, with a checkpoint (`Stopped.after`): with exit status 0, and with 130
as interrupts do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """`signal`: the name of what asked for the stop, None while nothing has."""

    signal: str | None = None


@contextmanager
def stopping() -> Iterator[Stop]:
    """SIGTERM and the first SIGINT ask for a stop after the current step; a second SIGINT is the usual interrupt."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = signal.Signals(number).name

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
