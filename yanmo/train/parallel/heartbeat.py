"""What every rank is doing, and a line about the one that holds up the others.

Each rank notes the phase that it enters (data, forward, backward, reduce, optimizer, checkpoint, validate); a thread sends the
note to the store, whether anything has changed or not: that is the beat. Rank 0 looks at all of them, and rank 1 at rank 0. A
rank whose beat has stopped is dead, or its machine is. One that beats, but has got less far than the others for long, is slow:
they wait for it in a collective operation, without an error and without a word, until that times out.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core.messages import Text, text

if TYPE_CHECKING:
    from yanmo.train.parallel.ranks import Ranks

PHASES = ("start", "validate", "data", "forward", "backward", "reduce", "optimizer", "checkpoint", "end")
NOTES = "YANMO_BEATS"  # a folder for notes that outlive the process: the launcher reads what a lost rank was doing


@dataclass
class Note:
    """Where a rank is: the step counted from 1, how many phases it has entered in it, and since when (its own clock)."""

    host: str = ""
    step: int = 0
    moves: int = 0
    phase: str = "start"
    since: float = 0.0
    beats: int = 0

    @property
    def progress(self) -> tuple[int, int]:
        return self.step, self.moves

    @property
    def place(self) -> Text:
        return text("{phase} of step {step}", phase=self.phase, step=self.step)


@dataclass
class Watched:
    """What a watcher knows of a rank: its last note, and when (the watcher's clock) it last beat and last moved."""

    note: Note
    heard: float
    moved: float
    named: set[tuple[Any, ...]] = field(default_factory=set)  # what has been said of it


class Heartbeat:
    """`seconds` without a beat, or behind the others, until a rank is named. `say` gets the line."""

    def __init__(self, ranks: Ranks, seconds: float, say: Callable[[Text], None]):
        self.ranks, self.seconds, self.say = ranks, seconds, say
        self.note = Note(host=socket.gethostname(), since=time.monotonic())
        folder = os.environ.get(NOTES)
        self._file = None if not folder else os.open(Path(folder) / str(ranks.rank), os.O_CREAT | os.O_WRONLY)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def at(self, phase: str, step: int | None = None) -> None:
        """Enters a phase; with `step` (from 1), its first one."""
        note = self.note
        note.moves = note.moves + 1 if step is None else 0
        note.step = note.step if step is None else step
        note.phase, note.since = phase, time.monotonic()
        if self._file is not None:
            os.pwrite(self._file, f"{phase} {note.step}".ljust(40).encode(), 0)

    def end(self) -> None:
        self._ended.set()
        self._thread.join(5)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _run(self) -> None:
        pause, known = min(1.0, self.seconds / 4), dict[int, Watched]()
        try:
            store = self.ranks.another()
            while not self._ended.wait(pause):
                self.note.beats += 1
                store.set(f"beat/{self.ranks.rank}", json.dumps(vars(self.note)))
                if self.ranks.rank < 2:
                    self._look(store, known)
        except Exception as error:  # the store is gone: so is the process that held it
            if not self._ended.is_set() and self.ranks.rank:
                self.say(text("rank {rank}: the store of rank 0 is gone ({reason})", rank=self.ranks.rank,
                              reason=str(error).split("\n")[0]))  # fmt: skip

    def _look(self, store: Any, known: dict[int, Watched]) -> None:
        watched = range(self.ranks.size) if self.ranks.first else [0]
        keys = [f"beat/{rank}" for rank in watched if store.check([f"beat/{rank}"])]
        now = time.monotonic()
        for key, value in zip(keys, store.multi_get(keys) if keys else []):
            rank, note = int(key.partition("/")[2]), Note(**json.loads(value))
            before = known.get(rank)
            if before is None:
                known[rank] = Watched(note, now, now)
                continue
            before.heard = now if note.beats != before.note.beats else before.heard
            before.moved = now if note.progress != before.note.progress else before.moved
            before.note = note
        for line in complaints(known, now, self.seconds):
            self.say(line)


def complaints(known: dict[int, Watched], now: float, seconds: float) -> list[Text]:
    """A line for each rank that has stopped, and for the one that has got less far than the others for `seconds`; what has been
    said of it is not said again."""
    said = []
    dead = {rank for rank, one in known.items() if now - one.heard >= seconds and one.note.phase != "end"}
    for rank in sorted(dead):
        one = known[rank]
        if ("dead",) not in one.named:
            one.named.add(("dead",))
            said.append(text("rank {rank} on {host} gives no sign of life for {seconds} s; last seen in {place}", rank=rank,
                             host=one.note.host, seconds=f"{now - one.heard:.0f}", place=one.note.place))  # fmt: skip
    for rank in known.keys() - dead:
        known[rank].named.discard(("dead",))
    live = {rank: one for rank, one in known.items() if rank not in dead and one.note.phase not in ("start", "end")}
    if dead or len(live) < 2:
        return said  # the others wait for the dead one
    slowest = min(live, key=lambda rank: (live[rank].note.progress, rank))
    one, furthest = live[slowest], max(other.note.progress for other in live.values())
    what = ("slow", one.note.step, one.note.phase)
    if one.note.progress < furthest and now - one.moved >= seconds and what not in one.named:
        one.named.add(what)
        waiting = sorted({str(other.note.place) for other in live.values() if other.note.progress > one.note.progress})
        said.append(text("rank {rank} on {host} is behind: in {place} for {seconds} s, while others wait in {others}",
                         rank=slowest, host=one.note.host, place=one.note.place, seconds=f"{now - one.moved:.0f}",
                         others=", ".join(waiting)))  # fmt: skip
    return said
