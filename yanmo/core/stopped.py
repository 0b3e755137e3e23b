"""What SIGTERM means to a run: whoever sends it (a scheduler, a machine that is taken back) gets what it asked for. The work
ends, what was finished stays, a line says what to run next, and the exit status is 0.

`terminable` is for work of any kind, which ends at once, as by an interrupt: a stage goes on from its own files when it is run
again. A training would rather finish the step at hand and save it: `yanmo.train.stop` takes the signal over while it lasts.
"""

from __future__ import annotations

import os
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
    """The work was asked to stop (SIGTERM, SIGINT) and has saved where it was."""

    exit_status = 0

    @classmethod
    def after(cls, what: str, asked: str, step: int, steps: int) -> Stopped:
        given = text("stopped by {signal} after step {step} of {steps}; a checkpoint is saved", signal=asked, step=step,
                     steps=steps)  # fmt: skip
        error = cls(what, None, given, again())
        error.exit_status = 130 if asked == "SIGINT" else 0
        return error


class Terminated(BaseException):
    """SIGTERM, where the work is at that moment; no `except Exception` is meant to catch it."""


def again() -> Text:
    """What to run next: the same command, as it was typed where it was ours."""
    script = Path(sys.argv[0])
    if script.name == "yanmo" or script.parts[-2:] == ("yanmo", "__main__.py"):
        command = shlex.join(["yanmo", *sys.argv[1:]])
        return text("run the same command again to go on: {command}", command=command)
    return text("run the same command again to go on")


@contextmanager
def terminable(where: str) -> Iterator[None]:
    """SIGTERM ends what is inside with `Stopped`. Not in a thread, which gets no signals, nor where the program that calls us
    has a handler of its own."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one is not waited for
        if os.getpid() != owner:  # a worker, forked with this handler
            os.kill(os.getpid(), number)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Terminated:
        raise Stopped(where, None, text("stopped by SIGTERM; what is finished stays"), again()) from None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
