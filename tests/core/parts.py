"""Small real stages for the tests of recipes and runs: they count the bytes of files and add up earlier counts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from yanmo.core.config import Part, PartOf, Settings
from yanmo.core.errors import DataError
from yanmo.core.files import write_json
from yanmo.core.paths import expand
from yanmo.core.stage import Stage


class Rule(Part):
    """A nested part."""

    factor: int = 1


class Limits(Settings):
    low: int = 0
    high: Annotated[int, Field(gt=0)] = 10


class Count(Stage):
    """Counts the bytes of its files; `gives` a corpus."""

    gives = "corpus"
    execution = frozenset({"workers"})

    path: str
    rule: Annotated[Rule, PartOf("step")] = Rule()
    rules: Annotated[list[Part], PartOf("step")] = []  # noqa: RUF012 - pydantic copies it
    limits: Limits = Limits()
    workers: int = 1
    pause: float = 0.0
    least: int = 0

    def files(self) -> list[Path]:
        return expand(self.path)

    def run(self, run, folder):
        total = run.plan(folder, lambda: {"total": 0})["total"]
        for path in self.files():
            total += len(path.read_bytes()) * self.rule.factor
            time.sleep(self.pause)
        if total < self.least:
            raise DataError(self.path, None, "too few bytes")
        if os.environ.get("YANMO_TEST_STOP") == run.stage:
            raise KeyboardInterrupt
        write_json(folder / "count.json", total)
        (folder / "log.txt").write_text(f"{time.time()}")
        return {"count": "count.json"}


class Double(Stage):
    """Twice the count of the corpus before it; `gives` a model."""

    takes = ("corpus",)
    gives = "model"

    corpus: str | None = None
    times: int = 2

    def run(self, run, folder):
        count = json.loads((run.take("corpus") / "count.json").read_text())
        write_json(folder / "count.json", count * self.times)
        return {"count": "count.json"}
