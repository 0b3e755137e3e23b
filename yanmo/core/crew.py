"""Several processes at one run: the first walks through the stages, the others join it in those that train on all.

`Crew` is the one process that does everything itself; `yanmo.train.parallel.ranks.Ranks` is one of several, started by
`torchrun` or `yanmo run --ranks N`. A stage that works on all of them (`Stage.together`) is called by the first process; what
only one may decide or write is its `turn`, and the others find it done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from yanmo.core.console import Console
from yanmo.core.messages import Text


class Dismissed(Exception):
    """The first process has ended while this one waited for it."""


class Crew:
    """One process alone. `rank` counts from 0; the first one writes."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """The first process does what is inside, then the others do, and find what it made."""
        yield

    def call(self, order: dict[str, Any]) -> None:
        """The first process asks the others to join it in a stage."""

    def calls(self) -> Iterator[dict[str, Any]]:
        """What the others are asked to join, until the first process has ended."""
        return iter(())

    def dismiss(self) -> None:
        """The first process has ended, with or without an error; the others may go."""


ALONE = Crew()


class Silence(Console):
    """The console of a process that is not the first: what it would say, that one says."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def warn(self, message: str | Text) -> None:
        pass


def among_others() -> bool:
    """Whether a launcher has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1") or 1) > 1 and "RANK" in os.environ
