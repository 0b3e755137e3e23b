"""A session's folder belongs to one session, its worker processes included.

A worker of a parent that was killed ends as soon as it notices; until then it may still make a file, and one that it has
begun stays behind under a temporary name. The lock on `.workers` is that of an open file which each worker inherits: the
system lets go of it when the last of them has ended, and only then does another session look at what lies in the folder.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.messages import text

NAME = ".workers"


class Hold:
    """Waits for those who still work in `folder`, and removes what they left unfinished. `number` is the open file's."""

    def __init__(self, folder: Path, console: Console):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = open(folder / NAME, "ab")  # noqa: SIM115 - closed by `close`
        self.number = self.file.fileno()
        try:
            fcntl.flock(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.log(text("corpus: waiting for the workers of a run that was killed"))
            fcntl.flock(self.number, fcntl.LOCK_EX)
        files.remove_temporaries(folder)

    def close(self) -> None:
        self.file.close()
