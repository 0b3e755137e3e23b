"""The corpus stage on Spark beside the local engine, after start. `python -m benchmarks.corpus_spark [--json]`

The same documents (English and Chinese, a tenth exact and a tenth near duplicates) go through the same steps on both engines
in one process, in turn, with Spark already started and warm. A stage has a cost of its own on Spark (some fifteen jobs), which
`fixed` shows: a stage of 20 documents. What remains of a large one, by document and core, is the rate: seconds on the clock,
and of the processors in all processes together, Java's among them. `ours` is Spark, `peer` the local engine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.corpus_memory import STEPS, write

TICK = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """Of this process, those below it, and those below it that have ended."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(map(int, fields[11:15])) / TICK  # user, system, and both of ended children
    total, todo = 0.0, [os.getpid()]
    while todo:
        pid = todo.pop()
        total += used.get(pid, 0.0)
        todo += [child for child, parent in parents.items() if parent == pid]
    return total


def stage(path: Path, run: Path, engine: dict[str, Any]) -> tuple[float, float]:
    """Seconds on the clock and of the processors that the stage takes."""
    from yanmo.core.config import Place
    from yanmo.core.console import Console
    from yanmo.core.execute import execute
    from yanmo.core.recipe import parse

    settings = {"source": {"type": "jsonl", "path": str(path)}, "steps": STEPS, "engine": engine}
    recipe = {"name": "x", "stages": [{"corpus": settings}]}
    began, used = time.monotonic(), processor_seconds()
    execute(parse(recipe, Place()), run, console=Console(quiet=True))
    return time.monotonic() - began, processor_seconds() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--size", type=float, default=16, help="megabytes of input")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    def tell(case: str, ours: float, peer: float, unit: str, kind: str = "info") -> None:
        row = {"benchmark": "corpus_spark", "case": case, "kind": kind, "ours": round(ours, 3), "peer": "local engine",
               "peer_value": round(peer, 3), "ratio": round(peer / ours, 3) if ours else None, "unit": unit}  # fmt: skip
        shown = json.dumps(row) if arguments.json else f"{case}: {row['ours']} {unit}, local engine {row['peer_value']}"
        print(shown, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        few, many = folder / "few.jsonl", folder / "many.jsonl"
        write(few, 20_000, seed=2)
        count = write(many, int(arguments.size * 1e6), seed=1)
        engines = {"spark": {"type": "spark", "master": f"local[{arguments.cores}]"},
                   "local": {"type": "local", "workers": arguments.cores}}  # fmt: skip
        began = time.monotonic()
        with running(arguments.cores, folder):
            started = time.monotonic() - began
            for name, engine in engines.items():
                stage(few, folder / f"warm-{name}", engine)
            taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
            for repeat in range(arguments.repeats):
                for name, engine in engines.items():
                    for path in (few, many):
                        found = stage(path, folder / f"{name}-{path.stem}-{repeat}", engine)
                        taken.setdefault((name, path.stem), []).append(found)
        tell("start", started, 0.0, "s")
        for index, what in enumerate(("clock", "processors")):
            middle = {key: statistics.median(found[index] for found in values) for key, values in taken.items()}
            tell(f"fixed, {what}", middle["spark", "few"], middle["local", "few"], "s")
            rates = {name: (middle[name, "many"] - middle[name, "few"]) / count * 1e6 for name in engines}
            share = arguments.cores if what == "clock" else 1
            tell(f"a document and core, {what}", rates["spark"] * share, rates["local"] * share, "µs", "peer")
        whole = [statistics.median(clock for clock, _ in taken[name, "many"]) for name in engines]
        tell(f"{arguments.size:g} MB in all, clock", whole[0], whole[1], "s")


def running(cores: int, folder: Path) -> Any:
    """Spark, started as the engine starts it, and kept for all that follows."""
    from yanmo.corpus.engines.spark_start import spark

    return spark(f"local[{cores}]", {}, folder / "spark")


if __name__ == "__main__":
    sys.exit(main())
