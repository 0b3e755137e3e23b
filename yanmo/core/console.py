"""What a person sees while work goes on: bars with an ETA, and lines of log, on standard error only.

Results go to standard output and are the verbs' own business. `quiet` shows nothing but errors; without a terminal
the bars become one line now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from yanmo.core.messages import Text


class Bar:
    """Progress of one piece of work. `advance(n, **shown)`: n units done, and figures to show (loss, tokens/s). `done`: units
    of before, which say nothing about the rate. `total` may change on the way."""

    def __init__(self, console: Console, what: str, total: float | None, unit: str, done: float = 0.0):
        self.console, self.what, self.total, self.unit = console, what, total, unit
        self.before, self.done, self.start, self.said = done, done, time.monotonic(), time.monotonic()
        self.shown: dict[str, Any] = {}
        self._live: Any = None
        self._task: Any = None

    def advance(self, n: float = 1, **shown: Any) -> None:
        self.done += n
        self.shown.update(shown)
        if self._live is not None:
            self._live.update(self._task, completed=self.done, total=self.total, figures=self._figures())
        elif not self.console.quiet and time.monotonic() - self.said > 10:
            self.said = time.monotonic()
            self.console.log(f"{self.what}: {self._plain()}")

    def rate(self) -> float:
        return (self.done - self.before) / max(time.monotonic() - self.start, 1e-9)

    def _figures(self) -> str:
        figures = [f"{compact(self.rate())} {self.unit}/s"] if self.done > self.before else []
        figures += [f"{key} {compact(value)}" for key, value in self.shown.items()]
        return " · ".join(figures)

    def _plain(self) -> str:
        share = f"{self.done / self.total:4.0%} " if self.total else f"{compact(self.done)} {self.unit} "
        parts = [f"ETA {(self.total - self.done) / self.rate():.0f} s"] if self.total and self.done > self.before else []
        return share + " · ".join([*parts, *filter(None, [self._figures()])])


class Console:
    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def log(self, message: str | Text) -> None:
        if not self.quiet:
            print(str(message), file=sys.stderr, flush=True)

    def warn(self, message: str | Text) -> None:
        print(str(message), file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, what: str, total: float | None = None, unit: str = "documents", done: float = 0.0) -> Iterator[Bar]:
        bar = Bar(self, what, total, unit, done)
        if self.quiet or not sys.stderr.isatty():
            yield bar
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn(),
                   TimeRemainingColumn(elapsed_when_finished=True), TextColumn("{task.fields[figures]}"))  # fmt: skip
        with Progress(*columns, console=RichConsole(stderr=True), transient=False) as live:
            bar._live, bar._task = live, live.add_task(what, total=total, completed=int(done), figures="")
            yield bar


def compact(value: Any) -> str:
    """A number as a bar shows it: 1234567 → 1.23M, 0.12345 → 0.123; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    for bound, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= bound:
            return f"{value / (1e3 if suffix == 'k' else bound):.3g}{suffix}"
    return f"{value:.4g}"
