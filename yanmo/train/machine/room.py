"""When memory runs out: micro-batches are halved and the step is done again, from the same random numbers.

A step's losses are divided by the weight of the whole batch, however it is cut, so that halves give the gradient that the
whole would have given (but for the order of sums, and the places where dropout falls). From which step on rows were cut is
kept in `memory.json`, at once: a run that is killed and goes on from an earlier checkpoint cuts the same steps again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import TrainingError
from yanmo.core.messages import Text, text
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch

FILE = "memory.json"
SAID = re.compile(r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|bad_alloc|"
                  r"could not (create|allocate) (a )?memory", re.IGNORECASE)  # fmt: skip
T = TypeVar("T")


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch says so in a class of its own on a GPU, and in many words on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and SAID.search(str(error)) is not None


@contextmanager
def exhaustion(what: str, remedy: Text | None = None) -> Iterator[None]:
    """Memory that runs out within ends the work with one clear line."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        given = text("the memory is exhausted: {said}", said=_line(error))
        raise TrainingError(what, None, given, remedy or smaller()) from None


def smaller() -> Text:
    return text("lower train.micro_tokens or objective.context, set train.recompute: true, or choose a smaller model")


def _line(error: BaseException) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 160 else words[:157] + "…"


class Room:
    """How far this run's micro-batches are cut. `parts`: into how many, a power of two."""

    def __init__(self, folder: Path, console: Console, what: str):
        self.path, self.console, self.what = folder / FILE, console, what
        self.halvings: list[int] = files.read_json(self.path)["halved_at"] if self.path.is_file() else []

    def parts(self, step: int) -> int:
        """For the step after `step` finished ones."""
        return 1 << sum(at <= step for at in self.halvings)

    def fit(self, step: int, micro: list[Batch], work: Callable[[list[Batch]], T], again: Callable[[], None]) -> T:
        """`work` on the step's micro-batches, cut as far as it takes; `again` puts everything back to before it."""
        while True:
            try:
                return work([part for batch in micro for part in cut(batch, self.parts(step))])
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                said = _line(error)
            again()  # outside of the handler, whose traceback holds on to what is to be freed
            self._halve(step, micro, said)

    def _halve(self, step: int, micro: list[Batch], said: str) -> None:
        rows = max(-(-len(batch.inputs.tokens) // self.parts(step)) for batch in micro)
        if rows == 1:
            longest = max(batch.inputs.tokens.shape[1] for batch in micro)
            raise TrainingError(text("{what}: step {step}", what=self.what, step=step + 1),
                                text("memory for one row of {tokens} tokens", tokens=longest), said, smaller())  # fmt: skip
        self.halvings.append(step)
        files.write_json(self.path, {"halved_at": self.halvings})
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        self.console.warn(text("{what}: step {step}: the memory is exhausted; from here on micro-batches are cut into {parts} "
                               "({rows} rows at most), with the same result", what=self.what, step=step + 1,
                               parts=self.parts(step), rows=-(-rows // 2)))  # fmt: skip


def cut(batch: Batch, parts: int) -> list[Batch]:
    """The batch's rows in so many micro-batches of about equal size, in their order; padding stays."""
    count = len(batch.inputs.tokens)
    size = -(-count // parts)
    return [batch] if size >= count else [_rows(batch, start, min(start + size, count), count) for start in range(0, count, size)]


def _rows(value: Any, start: int, stop: int, count: int) -> Any:
    """Of everything that has an entry a row, those from `start` to `stop`."""
    if isinstance(value, Batch | Inputs):
        return replace(value, **{name: _rows(item, start, stop, count) for name, item in vars(value).items()})
    if isinstance(value, dict):
        return {name: _rows(item, start, stop, count) for name, item in value.items()}
    if isinstance(value, Tensor | list) and len(value):
        assert len(value) == count, f"{len(value)} entries for {count} rows"
        return value[start:stop]
    return value
