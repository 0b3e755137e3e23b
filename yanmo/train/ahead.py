"""The rows of a training's steps, in their order; with `prefetch`, collated ahead of time in a thread.

A step's rows follow from its cursor and its own generator alone, and the thread makes them one step after the other as the
loop would, so that they are the same bytes however many are made ahead.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from yanmo.objectives.base import Batch
from yanmo.train.randomness import generator

if TYPE_CHECKING:
    from yanmo.train.job import Batches

Taken = tuple[list[Batch], tuple[int, int], torch.Generator]  # micro-batches, the cursor behind them, the generator after them
PREFETCH = {"cuda": 2}  # steps, where the recipe says nothing: on a CPU the thread would take what the step itself needs
LOOK = 0.1  # seconds between two looks at whether anybody still waits


class Rows:
    """`next()`: the rows of the next step, made now."""

    def __init__(self, batches: Batches, seed: int, step: int, cursor: tuple[int, int]):
        self.batches, self.seed, self.step, self.cursor = batches, seed, step, cursor

    def next(self) -> Taken:
        rng = generator(self.seed, self.step)
        micro, self.cursor = self.batches.take(self.cursor, rng)
        self.step += 1
        return micro, self.cursor, rng

    def close(self) -> None:
        pass


class RowsAhead(Rows):
    """The same, up to `ahead` steps before they are asked for. An error of theirs is raised where they are asked for."""

    def __init__(self, batches: Batches, seed: int, step: int, cursor: tuple[int, int], last: int, ahead: int):
        super().__init__(batches, seed, step, cursor)
        self.made: queue.Queue[Taken | BaseException] = queue.Queue(ahead)
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._make, args=(last,), name="yanmo-rows", daemon=True)
        self.thread.start()

    def _make(self, last: int) -> None:
        while self.step < last and not self.closed.is_set():
            try:
                found: Taken | BaseException = super().next()
            except BaseException as error:  # whatever it is, the loop must hear of it
                found = error
            while not self.closed.is_set():
                try:
                    self.made.put(found, timeout=LOOK)
                    break
                except queue.Full:
                    pass
            if isinstance(found, BaseException):
                return

    def next(self) -> Taken:
        found = self.made.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        self.closed.set()
        self.thread.join()


@contextmanager
def rows(batches: Batches, seed: int, step: int, cursor: tuple[int, int], last: int, ahead: int) -> Iterator[Rows]:
    """The rows of the steps behind `step` up to `last`; with `ahead` above 0, so many steps ahead."""
    found = RowsAhead(batches, seed, step, cursor, last, ahead) if ahead else Rows(batches, seed, step, cursor)
    try:
        yield found
    finally:
        found.close()
