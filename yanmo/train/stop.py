"""SIGTERM and SIGINT end a training run after the step at hand, with a checkpoint.

Whoever sends SIGTERM (a scheduler, a machine that is taken back) gets what it asked for: everything is saved, and the exit
status is 0. An interrupt from the keyboard ends with 130, as interrupts do.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yanmo.core.errors import WorkError
from yanmo.core.messages import Text, text


class Stopped(WorkError):
    """Training was asked to stop (SIGTERM, SIGINT) and has saved where it was."""

    exit_status = 0

    @classmethod
    def after(cls, what: str, asked: str, step: int, steps: int) -> Stopped:
        given = text("stopped by {signal} after step {step} of {steps}; a checkpoint is saved", signal=asked, step=step,
                     steps=steps)  # fmt: skip
        error = cls(what, None, given, again())
        error.exit_status = 130 if asked == "SIGINT" else 0
        return error


def again() -> Text:
    """What to run next: the same command, as it was typed where it was ours."""
    script = Path(sys.argv[0])
    if script.name == "yanmo" or script.parts[-2:] == ("yanmo", "__main__.py"):
        command = shlex.join(["yanmo", *sys.argv[1:]])
        return text("run the same command again to go on: {command}", command=command)
    return text("run the same command again to go on")


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
