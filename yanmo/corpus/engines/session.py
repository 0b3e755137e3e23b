"""The local engine at work: each operation of a plan prepared in its turn, its files found again after a kill."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.messages import text
from yanmo.core.package import VERSION
from yanmo.corpus import dataset
from yanmo.corpus.dataset import Dataset, Plan, Row
from yanmo.corpus.engines import hold, parts
from yanmo.corpus.engines.keys import Keys
from yanmo.corpus.engines.pool import Pool
from yanmo.corpus.engines.tasks import (
    SECTIONS,
    TOO_MANY,
    FileScan,
    GatherTask,
    GroupTask,
    JoinScan,
    MapScan,
    MatchTask,
    MergeTask,
    PersistTask,
    PlacedTask,
    PlaceTask,
    ReadScan,
    ReduceTask,
    RowsScan,
    Scan,
    SortTask,
    SpillTask,
    Task,
    chained,
    first_of,
    second_of,
)
from yanmo.corpus.source import SHARD_BYTES, Shard, Source

FORMAT = 5  # grows when part files of an older version cannot be used
PARTITIONS = 256  # about how many a large input is cut into, within the bounds of
LARGEST = 64 << 20  # bytes of input in a partition
RANGE_ROWS, RANGE_BYTES = 100_000, 8 << 20  # keys that a task holds, and their values
MERGED = 64  # sorted parts read at once
SPILLS = 2  # that every partition looks into
SMALL = 1 << 20  # bytes of rows that are not worth a task, and a file to be opened by every later one
WHOLE = 4 << 20  # bytes of rows that are grouped at once, if they give few keys
SHOWN_BYTES = 2 << 20  # a pass over less than this shows no bar


class LocalSession:
    def __init__(self, folder: Path, console: Console, workers: int):
        self.folder, self.console, self.workers = folder, console, workers
        self.hold = hold.Hold(folder, console)
        self.pool = Pool(workers, keep=(self.hold.number,))
        self.numbers = count()
        self.known: dict[int, list[Scan]] = {}
        inputs = folder / "inputs.json"
        self.keys = Keys(files.read_json(inputs) if inputs.is_file() else {})
        self.used: set[str] = {"version.json", "inputs.json", hold.NAME}
        version = {"format": FORMAT, "yanmo": VERSION}
        if (folder / "version.json").is_file() and files.read_json(folder / "version.json") != version:
            for path in folder.iterdir():
                if path.name not in ("inputs.json", hold.NAME):
                    files.remove(path)
        if not (folder / "version.json").is_file():
            files.write_json(folder / "version.json", version)

    def close(self) -> None:
        self.pool.close()
        self.hold.close()

    def sweep(self) -> None:
        """Removes the files of operations that are no longer part of the plan."""
        for path in self.folder.iterdir():
            if path.name not in self.used:
                files.remove(path)

    # -------------------------------------------------------------------------------------------- what a dataset asks

    def number(self) -> int:
        return next(self.numbers)

    def read(self, sources: Iterable[Source]) -> Dataset:
        return Dataset(dataset.Read(self.number(), tuple(sources)), self)

    def rows(self, plan: Plan) -> Iterator[Row]:
        for scan in self._scans(plan):
            yield from scan.rows()

    # -------------------------------------------------------------------------------------------- plans to scans

    def _scans(self, plan: Plan) -> list[Scan]:
        """How to iterate each partition of `plan`, after the passes that this takes."""
        if plan.number not in self.known:
            self.known[plan.number] = self._prepare(plan)
        return self.known[plan.number]

    def _prepare(self, plan: Plan) -> list[Scan]:
        match plan:
            case dataset.Read():
                return list(partitions([(source, shard) for source in plan.sources for shard in source.shards()]))
            case dataset.Map():
                return [MapScan(scan, plan.fn, plan.across) for scan in self._scans(plan.child)]
            case dataset.Join():
                matches = by_partition(self._made(plan, self._join))
                scans = self._scans(plan.child)
                return [JoinScan(scan, tuple(matches.get(index, ())), index, plan.how) for index, scan in enumerate(scans)]
            case dataset.Given():
                return [FileScan(path) for path in self._made(plan, self._given)]
            case dataset.Persist() if light(plan.child):
                return self._scans(plan.child)
            case dataset.Persist():
                return [FileScan(path, path.stat().st_size) for path in self._made(plan, self._persist)]
            case dataset.Group():
                return [FileScan(path, path.stat().st_size) for path in self._made(plan, self._group)]
            case dataset.Sort():
                return [FileScan(path, path.stat().st_size) for path in self._made(plan, self._sort)]
        raise AssertionError(f"no such operation: {plan}")

    def _made(self, plan: Any, make: Callable[[Any, Path], Sequence[Path]]) -> list[Path]:
        """The files of an operation: those listed by a finished one, else made now."""
        folder = self.folder / f"{self.keys.of(plan)}-{type(plan).__name__.lower()}"
        self.used.add(folder.name)
        done = folder / "done.json"
        if not done.is_file():
            made = make(plan, folder)
            files.write_json(done, [path.relative_to(folder).as_posix() for path in made])
            files.remove(folder / "spill")
        return [folder / name for name in files.read_json(done)]

    def _given(self, plan: dataset.Given, folder: Path) -> list[Path]:
        parts.write(folder / "00000.arrow", plan.rows)
        return [folder / "00000.arrow"]

    def _persist(self, plan: dataset.Persist, folder: Path) -> list[Path]:
        scans = self._scans(plan.child)
        tasks = [PersistTask(folder / f"{i:05d}.arrow", scan, size=scan.size) for i, scan in enumerate(scans)]
        return self._run(text("corpus: documents"), tasks)

    def _group(self, plan: dataset.Group, folder: Path) -> list[Path]:
        scans = self._scans(plan.child)
        if scans and sum(scan.size for scan in scans) <= WHOLE:
            whole = GroupTask(folder / "all.arrow", chained(scans), plan.key, plan.value, plan.reduce)
            if whole.output.is_file() or whole.run() != TOO_MANY:
                return [whole.output]
        spills = self._run(text("corpus: keys"), [
            SpillTask(folder / "spill" / name, scan, plan.key, plan.value, plan.reduce, size=scan.size)
            for name, scan in together(scans)])  # fmt: skip
        return self._run(text("corpus: groups"), [
            ReduceTask(folder / f"{first:03d}.arrow", tuple(spills), first, last, plan.reduce, size=64 * rows)
            for first, last, rows in ranges(spills)])  # fmt: skip

    def _join(self, plan: dataset.Join, folder: Path) -> list[Path]:
        if plan.key is dataset.by_place and isinstance(plan.other, dataset.Given):
            PlacedTask(folder / "given.arrow", RowsScan(plan.other.rows)).run()
            return [folder / "given.arrow"]
        right = self._scans(plan.other)
        if plan.key is dataset.by_place:
            return self._gathered([PlacedTask(folder / name, scan, size=scan.size) for name, scan in together(right)])
        others = self._run(text("corpus: keys"), [
            SpillTask(folder / "spill" / f"right-{name}", scan, first_of, second_of, None, size=scan.size)
            for name, scan in together(right)])  # fmt: skip
        places = self._run(text("corpus: keys"), [
            PlaceTask(folder / "spill" / f"left-{i:05d}.arrow", scan, plan.key, i, size=scan.size)
            for i, scan in enumerate(self._scans(plan.child))])  # fmt: skip
        return self._gathered([
            MatchTask(folder / f"{first:03d}.arrow", tuple(places), tuple(others), first, last, size=64 * rows)
            for first, last, rows in ranges([*places, *others])])  # fmt: skip

    def _gathered(self, tasks: Sequence[Task]) -> list[Path]:
        """What tasks find for partitions. That of many tasks in files of neighbouring partitions: not each opens every file."""
        if len(tasks) <= SPILLS:
            return self._run(text("corpus: matches"), tasks)
        folder = tasks[0].output.parent
        apart = [replace(task, output=folder / "spill" / f"match-{task.output.name}") for task in tasks]
        spills = self._run(text("corpus: matches"), apart)
        return self._run(text("corpus: matches"), [
            GatherTask(folder / f"{first:05d}-{last:05d}.arrow", tuple(spills), first, last, size=64 * rows)
            for first, last, rows in ranges(spills)])  # fmt: skip

    def _sort(self, plan: dataset.Sort, folder: Path) -> list[Path]:
        paths = self._run(text("corpus: order"), [
            SortTask(folder / "spill" / f"0-{i:05d}.arrow", scan, plan.key, size=scan.size)
            for i, scan in enumerate(self._scans(plan.child))])  # fmt: skip
        level = 1
        while len(paths) > MERGED:
            paths = self._run(text("corpus: order"), [
                MergeTask(folder / "spill" / f"{level}-{i:05d}.arrow", tuple(paths[i : i + MERGED]), plan.key)
                for i in range(0, len(paths), MERGED)])  # fmt: skip
            level += 1
        return self._run(text("corpus: order"), [MergeTask(folder / "00000.arrow", tuple(paths), plan.key)])

    # -------------------------------------------------------------------------------------------- running tasks

    def _run(self, what: Any, tasks: Sequence[Task]) -> list[Path]:
        """Runs the tasks whose output is not there yet; the outputs of all."""
        pending = [task for task in tasks if not task.output.is_file()]
        size = sum(task.size for task in pending)
        if size < SHOWN_BYTES:
            for _ in self._results(pending):
                pass
        else:
            with self.console.bar(str(what), size / 1e6, "MB") as bar:
                rows = 0
                for task, done in self._results(pending):
                    rows += done
                    bar.advance(task.size / 1e6, rows=rows)
        return [task.output for task in tasks]

    def _results(self, pending: Sequence[Task]) -> Iterator[tuple[Task, int]]:
        if self.workers == 1 or len(pending) < 2:
            return ((task, task.run()) for task in pending)
        return self.pool.run(pending)


def light(plan: Plan) -> bool:
    """Whether rows cost hardly more to work out than to read again: stored ones, and what a step brings to them. Documents
    are then not stored again with every step that compares them."""
    join = plan.child if isinstance(plan, dataset.Map) else None
    return isinstance(join, dataset.Join) and isinstance(join.child, dataset.Persist)


def by_partition(matches: Sequence[Path]) -> dict[int, list[Path]]:
    """The files that say something of a partition: each is looked at once, and no partition opens the others."""
    found: dict[int, list[Path]] = {}
    for path in matches:
        for index in parts.sections(path):
            found.setdefault(index, []).append(path)
    return found


def partitions(shards: list[tuple[Source, Shard]]) -> Iterator[ReadScan]:
    """Shards gathered in their order; how many to a partition depends on the input's size alone."""
    total = sum(shard.size for _, shard in shards)
    wanted = min(max(total // PARTITIONS, SHARD_BYTES), LARGEST) * 3 // 4  # a shard may be somewhat smaller than it could be
    held: list[tuple[Source, Shard]] = []
    index = size = 0
    for source, shard in shards:
        held.append((source, shard))
        size += shard.size
        if size >= wanted or len(held) >= 10_000:
            yield ReadScan(index << 32, tuple(held), size)
            held, size, index = [], 0, index + 1
    if held:
        yield ReadScan(index << 32, tuple(held), size)


def together(scans: Sequence[Scan]) -> Iterator[tuple[str, Scan]]:
    """Scans that follow each other as one where they are small, each with the name of a file that says which they are."""
    first = size = 0
    for index, scan in enumerate(scans):
        size += scan.size
        if size >= SMALL or index == len(scans) - 1:
            yield f"{first:05d}-{index:05d}.arrow", chained(scans[first : index + 1])
            first, size = index + 1, 0


def ranges(spills: Sequence[Path]) -> list[tuple[int, int, int]]:
    """(first, last, rows): sections that follow each other, together about RANGE_ROWS rows or RANGE_BYTES, what comes first."""
    rows, size = defaultdict[int, int](int), defaultdict[int, float](float)
    for path in spills:
        numbers = parts.sections(path)
        a_row = path.stat().st_size / (sum(numbers.values()) or 1)
        for index, number in numbers.items():
            rows[index] += number
            size[index] += number * a_row
    found: list[tuple[int, int, int]] = []
    held, taken = 0, 0.0
    for index in sorted(rows):
        if held and (held + rows[index] > RANGE_ROWS or taken + size[index] > RANGE_BYTES):
            found[-1] = (found[-1][0], index, held)
            held, taken = 0, 0.0
        if not held:
            found.append((index if found else 0, index + 1, 0))
        held, taken = held + rows[index], taken + size[index]
    if found:
        found[-1] = (found[-1][0], max(SECTIONS, max(rows) + 1), held)
    return found
