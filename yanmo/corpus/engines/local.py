"""The local engine: a plan executed in passes over partitions, in this process or in several.

    sources ──shards──> partitions ──fused maps──> part files ──> …
    group:  spill (section of the key, key, value) → sort each range of sections, combine equal keys
    join:   spill (section of the key, key, place of the row) | spill the other side → match each range of sections
            → spill (partition, row, value) → read beside the partition's rows

Only keys and small values are exchanged; documents stay in the part they were written to. Memory is bounded by a batch of
documents and a range of keys, whatever the size of the input. How the input is cut depends on the input alone, so any
number of workers gives the same parts, and a part that is there after a kill is not made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from yanmo.corpus.dataset import Engine

if TYPE_CHECKING:
    from yanmo.core.console import Console
    from yanmo.corpus.engines.session import LocalSession


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalEngine(Engine):
    """This machine's cores: worker processes, with bounded memory.

    `workers`: None is one for each core; 1 works in this process."""

    type: str = "local"
    workers: int | None = Field(default=None, ge=1)

    execution: ClassVar[frozenset[str]] = frozenset({"workers"})

    @contextmanager
    def session(self, folder: Path, console: Console) -> Iterator[LocalSession]:
        from yanmo.corpus.engines.session import LocalSession

        session = LocalSession(folder, console, self.workers or cores())
        try:
            yield session
        finally:
            session.close()
