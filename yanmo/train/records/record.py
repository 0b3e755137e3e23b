"""Where the figures of a training go.

    STAGE/metrics.jsonl    the record: a line a step, a line a validation, flushed at once, cut back on resume
          cost.json        what the training took: time, speed, MFU, memory, energy, carbon; no output of the stage
          tensorboard/     and whatever else the recipe's `train.records` names: each made from metrics.jsonl

The other records hold the same figures under the same names ('train/loss', 'validation/bits_per_byte') and no other truth:
when a run goes on after a kill, what an earlier try left is removed and they are written anew from the lines that
metrics.jsonl keeps. So none of them ever has a point twice, or one of a step that was taken back, or a gap where a buffer was
lost. One that fails (a full disk, a server that is gone) says so once and costs no training.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from yanmo.core import energy, files
from yanmo.core.config import Part
from yanmo.core.console import Console
from yanmo.core.extras import installed
from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.train.machine.gauge import Gauge
from yanmo.train.records.metrics import MetricsLog, read

if TYPE_CHECKING:
    from yanmo.objectives.base import Batch
    from yanmo.train.checkpoint import State
    from yanmo.train.job import Job

METRICS, COST = "metrics.jsonl", "cost.json"
DEFAULT = "tensorboard"


@dataclass(frozen=True)
class Title:
    """What a record is called: the run's name, the stage's, and what was decided for it."""

    run: str = "yanmo"
    stage: str = "training"
    plan: dict[str, Any] | None = None


class Sink(Protocol):
    """One open record."""

    def write(self, step: int, when: float, figures: dict[str, float]) -> None:
        """`when`: seconds since the epoch."""
        ...

    def close(self, finished: bool) -> None: ...


class Record(Part):
    """A place for figures. Its folder is the record's own, below the stage's: what an earlier try left there is gone."""

    module: ClassVar[str]  # the library that it needs, and
    extra: ClassVar[str]  # the extra that brings it

    def check(self, where: str) -> None:
        installed(self.module, self.extra, where)

    def open(self, folder: Path, title: Title) -> Sink:
        raise NotImplementedError


def records_of(given: Any) -> list[Record]:
    """The recipe's `train.records` as a list; TensorBoard where nothing is said and it is installed."""
    if given is None:
        return [create("record", DEFAULT)] if find_spec(DEFAULT) else []
    return list(given) if isinstance(given, list | tuple) else [given]


def check(given: Any, where: str) -> None:
    """RequestError where a record that the recipe names cannot be kept here."""
    for record in records_of(given):
        record.check(where)


def flat(entry: dict[str, Any]) -> dict[str, float]:
    """The numbers of one metrics line, under the names that every record uses."""
    inner, kind = (entry["validation"], "validation") if "validation" in entry else (entry, "train")
    return {f"{kind}/{name}": float(value) for name, value in inner.items()
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)}  # fmt: skip


class Records:
    """All records of one training, open; `state` is what the loop is working on."""

    def __init__(self, job: Job, state: State):
        self.job, self.state = job, state
        self.gauge = job.gauge or Gauge(device=job.device)
        self.log = MetricsLog(job.folder / METRICS, state.step, state.validated)
        self._began = time.time() - state.seconds
        self._sinks: dict[str, Sink] = {}
        if job.band is not None and any("outside_band" in entry for entry in read(job.folder / METRICS)):
            job.band.told = True
        for record in job.records:
            self._open(record)

    def step(self, micro: list[Batch], seconds: float, **figures: Any) -> dict[str, float]:
        """The step that was just made of `micro` in `seconds`; gives what it cost."""
        cost = self.gauge.step(micro, seconds, self.state)
        self.write(step=self.state.step, **figures, tokens=self.state.tokens, seconds=round(self.state.seconds, 3), **cost)
        self._compare(figures["loss"])
        return cost

    def spent(self) -> dict[str, float]:
        """What the training has spent so far, over all tries: 'seconds', and 'joules' where they are known."""
        known = {"seconds": self.state.seconds, "joules": self.state.joules}
        return {name: value for name, value in known.items() if value is not None}

    def write(self, **entry: Any) -> None:
        """A line of metrics.jsonl, and its numbers to every other record."""
        self.log.write(**entry)
        numbers = flat(entry)
        if numbers:
            for name in list(self._sinks):
                with self._shielded(name):
                    self._sinks[name].write(entry["step"], time.time(), numbers)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.log.close()
        for name in list(self._sinks):
            with self._shielded(name):
                self._sinks[name].close(kind is None)
        if self.state.step:
            cost = self.gauge.summary(self.state)
            files.write_json(self.job.folder / COST, cost)
            if kind is None:
                self.job.console.log(text("{what}: {figures}", what=self.job.what, figures=said(cost)))

    def _compare(self, loss: float) -> None:
        """Says, once in a run, that the loss is not where our own runs were after as many tokens."""
        band = self.job.band
        found = band.look(self.state.tokens, loss) if band else None
        if found is None:
            return
        mean, low, _, high = found
        self.log.write(step=self.state.step, outside_band={"loss": round(mean, 4), "low": round(low, 4), "high": round(high, 4)})
        why = text("text that repeats itself or is easy, or targets that the model can see")
        if mean > high:
            why = text("a learning rate that is too high or too low, rows or targets that are damaged, or text that is harder "
                       "than prose")  # fmt: skip
        self.job.console.warn(text("{what}: step {step}: the loss {loss} is outside of {low} to {high}, where runs like this one "
                                   "were; likely causes: {why}", what=self.job.what, step=self.state.step, loss=f"{mean:.3f}",
                                   low=f"{low:.3f}", high=f"{high:.3f}", why=why))  # fmt: skip

    # ------------------------------------------------------------------------------------------------ the other records

    def _open(self, record: Record) -> None:
        name, folder = record.type, self.job.folder / record.type
        with self._shielded(name):
            files.remove(folder)
            sink = self._sinks[name] = record.open(folder, self.job.title)
            for entry in read(self.job.folder / METRICS):
                numbers = flat(entry)
                if numbers:
                    sink.write(entry["step"], self._began + entry.get("seconds", 0.0), numbers)

    def _shielded(self, name: str) -> _Shield:
        return _Shield(name, self._sinks, self.job.console)


class _Shield:
    """Whatever a record raises is said, and ends the record alone."""

    def __init__(self, name: str, sinks: dict[str, Sink], console: Console):
        self.name, self.sinks, self.console = name, sinks, console

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self.sinks.pop(self.name, None)
        self.console.warn(text("{name}: no longer written ({error}); metrics.jsonl has everything", name=self.name,
                               error=" ".join(str(error).split())[:200]))  # fmt: skip
        return True


def said(cost: dict[str, Any]) -> str:
    """What a training took, for a person."""
    return ", ".join(_said(cost))


def _said(cost: dict[str, Any]) -> Iterator[str]:
    if cost.get("tokens_per_second"):
        yield str(text("{speed} tokens a second", speed=f"{cost['tokens_per_second']:,.0f}"))
    if cost.get("mfu"):
        yield f"MFU {cost['mfu']:.1%}"
    if cost.get("matrix_share"):
        yield str(text("{share} of the measured matrix rate", share=f"{cost['matrix_share']:.1%}"))
    if cost.get("memory_bytes"):
        yield str(text("{size} GB of memory at most", size=f"{cost['memory_bytes'] / 1e9:.2f}"))
    if cost.get("joules") is None:
        yield str(text("energy unknown"))
    else:
        yield str(text("{energy} Wh ({method})", energy=f"{cost['joules'] / 3600:.3g}", method=energy.named(cost["method"])))
    if "grams" in cost:
        yield str(text("{grams} g CO2 (estimated, {country})", grams=f"{cost['grams']:.3g}", country=cost["country"]))
