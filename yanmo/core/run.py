"""A run: the directory that stages read from and add to.

    runs/NAME/
      recipe.yaml  environment.json        every default written out; command, versions, commit, hardware, seed
      STAGE/   begun.json  …files…  manifest.json
      tokens/CORPUS-TOKENIZER/             shared by the stages that need them

`begun.json` is written before a stage works and `manifest.json` after, both atomically. `execute.py` walks a recipe
through it, `verify.py` hashes it all again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.crew import ALONE, Crew
from yanmo.core.errors import RunError
from yanmo.core.manifest import MANIFEST, missing, read_manifest, record
from yanmo.core.messages import text
from yanmo.core.package import VERSION
from yanmo.core.recipe import Budget

LOCK = ".lock"


@dataclass
class Run:
    """What a stage sees of the run while it works."""

    directory: Path
    seed: int = 0
    console: Console = field(default_factory=Console)
    budget: Budget | None = None
    minutes: float | None = None  # wall clock that this stage should take, where the recipe has a budget
    stage: str = ""
    inputs: dict[str, list[Path]] = field(default_factory=dict)  # role → folders
    crew: Crew = ALONE  # the processes that work on it
    force: bool = False  # goes on where the doctor would refuse

    def take(self, role: str) -> Path:
        """The folder of the one input in `role`."""
        folders = self.inputs.get(role) or []
        assert len(folders) == 1, f"stage {self.stage} has {len(folders)} inputs in role {role}"
        return folders[0]

    def given(self, role: str) -> Path | None:
        """The folder of the input in `role`, or None where the stage does without."""
        return self.take(role) if self.inputs.get(role) else None

    def seed_for(self, purpose: str) -> int:
        """A 63-bit seed of its own for each purpose, stable across machines: `seed_for("shuffle")`."""
        return int.from_bytes(sha256(f"{self.seed}/{purpose}".encode()).digest()[:8], "big") >> 1

    def plan(self, folder: Path, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured to decide: read back after a kill, else decided now and written before any work."""
        path = folder / "plan.json"
        with self.crew.turn("plan"):
            if path.is_file():
                return files.read_json(path)
            plan = decide()
            files.write_json(path, plan)
            return plan

    def shared(self, name: str, key: Any, make: Callable[[Path], None]) -> Path:
        """A folder below the run that several stages use (token shards): made once, found again by the digest of `key`."""
        with self.crew.turn(name):
            return self._shared(name, key, make)

    def _shared(self, name: str, key: Any, make: Callable[[Path], None]) -> Path:
        folder = self.directory / name
        fingerprint = files.digest(key)
        manifest = read_manifest(folder)
        if manifest and manifest["fingerprint"] == fingerprint and not missing(folder, manifest):
            return folder
        files.remove(folder)
        started = time.monotonic()
        with files.atomic(folder) as temporary:
            temporary.mkdir()
            make(temporary)
            made = record(temporary, {p.name: p.name for p in temporary.iterdir()})
            made |= {"stage": name, "kind": "shared", "fingerprint": fingerprint, "settings": key, "inputs": {},
                       "sources": [], "seconds": round(time.monotonic() - started, 3), "yanmo": VERSION}  # fmt: skip
            files.write_json(temporary / MANIFEST, made)
        return folder


def _unwritable(directory: Path, error: OSError) -> Exception:
    if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
        return error
    return RunError(str(directory), text("a folder that can be written"), error.strerror,
                    text("give another one with --run-dir DIR"))  # fmt: skip


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the run's lock (released by the system if the process dies); one process at a time fills a run."""
    directory = Path(directory)
    try:
        if directory.exists() and not directory.is_dir():
            raise RunError(str(directory), text("a run directory"), text("a file"))
        existing = {p.name for p in directory.iterdir()} if directory.is_dir() else set()
        if existing and not {"recipe.yaml", LOCK} & existing:
            raise RunError(str(directory), text("a run directory or an empty one"),
                           text("a folder with other files in it"), text("give another one with --run-dir DIR"))  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        handle = open(directory / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - closed by the with below
    except OSError as error:
        raise _unwritable(directory, error) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise RunError(str(directory), text("a run that nobody is working in"),
                           text("in use by process {pid}", pid=handle.read().strip() or "?"),
                           text("wait for it, or give another one with --run-dir DIR")) from None  # fmt: skip
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield
