"""The pieces of work that the local engine hands out: each reads some files and writes one.

A scan is a way to iterate one partition's rows; a task writes what it iterates. Both travel to workers as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from heapq import merge
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import xxhash

from yanmo.corpus.dataset import Concatenation, Key, Row, RowFunction
from yanmo.corpus.engines import parts
from yanmo.corpus.engines.growing import Growing
from yanmo.corpus.source import Shard, Source
from yanmo.corpus.step import RowStep

SECTIONS = 256
COMBINED = 50_000  # keys combined in memory before they are spilled
FEW = 50_000  # pairs of a group that need no spills
TOO_MANY = -1


def section(key: Key) -> int:
    """Which of SECTIONS a key belongs to: the top bits of its hash."""
    data = key if isinstance(key, bytes) else key.encode() if isinstance(key, str) else key.to_bytes(8, "little", signed=True)
    return xxhash.xxh3_64_intdigest(data) * SECTIONS >> 64


# ------------------------------------------------------------------------------------------------ scans


class Scan(Protocol):
    @property
    def size(self) -> int:
        """Bytes to read, about: for progress."""
        ...

    def rows(self) -> Iterator[Row]: ...


@dataclass(frozen=True)
class ReadScan:
    """Shards that follow each other in the corpus; `order` is the place of the first row."""

    order: int
    shards: tuple[tuple[Source, Shard], ...]
    size: int

    def rows(self) -> Iterator[Row]:
        return Reading(self).rows()


class Reading:
    """The rows of a scan from a mark on: (shard, records of it already read, place of the next row)."""

    def __init__(self, scan: ReadScan, mark: Sequence[int] | None = None):
        self.scan = scan
        self.shard, self.after, self.order = mark or (0, 0, scan.order)
        self.firsts: list[int] = []  # the place that record 0 of each shard has, or would have
        self.next = self.order  # the place of the next row

    @property
    def count(self) -> int:
        """How many rows were read so far, those before the mark among them."""
        return self.next - self.scan.order

    def rows(self) -> Iterator[Row]:
        order, after = self.order, self.after
        for source, shard in self.scan.shards[self.shard :]:
            self.firsts.append(order - after)
            for doc in source.read(shard, after):
                doc.order = order
                order = self.next = order + 1
                yield doc
            after = 0

    def mark(self, order: int) -> tuple[int, int, int]:
        """Where to go on behind the row at place `order`."""
        index = bisect_right(self.firsts, order) - 1
        return self.shard + index, order + 1 - self.firsts[index], order + 1


@dataclass(frozen=True)
class FileScan:
    path: Path
    size: int = 0

    def rows(self) -> Iterator[Row]:
        return parts.read(self.path)


@dataclass(frozen=True)
class RowsScan:
    """Rows at hand."""

    held: tuple[Row, ...]
    size: int = 0

    def rows(self) -> Iterator[Row]:
        return iter(self.held)


@dataclass(frozen=True)
class MapScan:
    child: Scan
    fn: RowFunction
    across: bool = False

    @property
    def size(self) -> int:
        return self.child.size

    def rows(self) -> Iterator[Row]:
        return self.fn(self.child.rows())


@dataclass(frozen=True)
class ChainScan:
    """Partitions that follow each other, as one."""

    scans: tuple[Scan, ...]

    @property
    def size(self) -> int:
        return sum(scan.size for scan in self.scans)

    def rows(self) -> Iterator[Row]:
        return chain.from_iterable(scan.rows() for scan in self.scans)


def chained(scans: Sequence[Scan]) -> Scan:
    """Partitions that follow each other, as one."""
    if len(scans) == 1:
        return scans[0]
    first = scans[0]
    if isinstance(first, MapScan) and first.across:
        return MapScan(chained([scan.child for scan in scans if isinstance(scan, MapScan)]), first.fn)
    return ChainScan(tuple(scans))


@dataclass(frozen=True)
class JoinScan:
    """A partition's rows with what `matches` found for them."""

    child: Scan
    matches: tuple[Path, ...]
    partition: int
    how: str

    @property
    def size(self) -> int:
        return self.child.size

    def rows(self) -> Iterator[Row]:
        found: dict[int, Any] = {}
        for path in self.matches:
            for batch in parts.read_spill(path, self.partition, self.partition + 1):
                found.update((index, value) for _, index, value in parts.decode(batch))
        if self.how == "inner" and isinstance(self.child, FileScan):
            if found:
                yield from zip(parts.read_at(self.child.path, found), map(found.__getitem__, sorted(found)))
            return
        for index, row in enumerate(self.child.rows()):
            if self.how == "left":
                yield row, found.get(index)
            elif self.how == "inner" and index in found:
                yield row, found[index]
            elif self.how == "anti" and index not in found:
                yield row


# ------------------------------------------------------------------------------------------------ tasks


@dataclass(frozen=True)
class Task:
    output: Path
    size: int = field(default=0, kw_only=True)

    def run(self) -> int:
        """Writes `output`; how many rows that took."""
        raise NotImplementedError


@dataclass(frozen=True)
class PersistTask(Task):
    """Where every function takes one document and gives one, a kill is made good from the last batch on."""

    scan: Scan

    def run(self) -> int:
        scan: Any = self.scan
        functions: list[RowFunction] = []
        while isinstance(scan, MapScan) and isinstance(_owner(scan.fn), RowStep):
            scan, functions = scan.child, [scan.fn, *functions]
        if not isinstance(scan, ReadScan):
            return parts.write(self.output, self.scan.rows())
        with Growing(self.output) as part:
            reading = Reading(scan, part.mark)
            rows = reading.rows()
            for function in functions:
                rows = function(rows)
            for held in parts.batches(rows):
                part.add(parts.encode(held), reading.mark(held[-1].order))
            assert part.count == reading.count, f"{reading.count} documents were read and {part.count} came out of {functions}"
            return part.count


@dataclass(frozen=True)
class SpillTask(Task):
    """(key, value) by the key's section; values of a key that meet in memory are combined at once."""

    scan: Scan
    key: Callable[[Row], Key | None]
    value: Callable[[Row], Any]
    reduce: Callable[[Any, Any], Any] | None

    def run(self) -> int:
        return parts.write_spill(self.output, self.pairs())

    def pairs(self) -> Iterator[tuple[int, Row]]:
        held: dict[Key, Any] = {}
        for row in self.scan.rows():
            key = self.key(row)
            if key is None:
                continue
            if self.reduce is None or isinstance(self.reduce, Concatenation):  # nothing becomes smaller by meeting here
                yield section(key), (key, self.value(row))
                continue
            held[key] = self.reduce(held[key], self.value(row)) if key in held else self.value(row)
            if len(held) >= COMBINED:
                yield from ((section(k), (k, v)) for k, v in held.items())
                held = {}
        yield from ((section(k), (k, v)) for k, v in held.items())


@dataclass(frozen=True)
class GroupTask(SpillTask):
    """A whole group, without spills: what `ReduceTask` makes of them. TOO_MANY, and no output, for more than FEW pairs."""

    def run(self) -> int:
        pairs = self.pairs()
        found: dict[tuple[int, Key], list[Any]] = {}
        for where, (key, value) in islice(pairs, FEW):
            found.setdefault((where, key), []).append(value)
        if next(pairs, None) is not None:
            return TOO_MANY
        return parts.write(self.output, ((place[1], reduced(self.reduce, found[place])) for place in sorted(found)))


@dataclass(frozen=True)
class PlaceTask(Task):
    """(key, partition, row number) by the key's section."""

    scan: Scan
    key: Callable[[Row], Key | None]
    partition: int

    def run(self) -> int:
        return parts.write_spill(self.output, self.pairs())

    def pairs(self) -> Iterator[tuple[int, Row]]:
        keys = ((index, self.key(row)) for index, row in enumerate(self.scan.rows()))
        return ((section(key), (key, self.partition, index)) for index, key in keys if key is not None)


@dataclass(frozen=True)
class ReduceTask(Task):
    """(key, value) of a range of sections, each key once, in the order of the sections and in them of the keys: an order that
    no number of ranges changes."""

    spills: tuple[Path, ...]
    first: int
    last: int
    reduce: Callable[[Any, Any], Any]

    def run(self) -> int:
        found = list(chain.from_iterable(parts.read_sections(path, self.first, self.last) for path in self.spills))
        return parts.write(self.output, self._combined(found))

    def _combined(self, found: list[pa.RecordBatch]) -> Iterator[Row]:
        if not found:
            return
        order = [(parts.SECTION, "ascending"), ("0", "ascending")]
        table = pa.Table.from_batches(found).sort_by(order).drop_columns(parts.SECTION)
        found.clear()
        rows = chain.from_iterable(parts.decode(batch) for batch in table.to_batches(max_chunksize=10_000))
        for key, group in groupby(rows, key=itemgetter(0)):
            yield key, reduced(self.reduce, map(itemgetter(1), group))


@dataclass(frozen=True)
class MatchTask(Task):
    """(partition, row number, value) by partition, for the places whose key the other side has, in a range of sections."""

    places: tuple[Path, ...]
    others: tuple[Path, ...]
    first: int
    last: int

    def run(self) -> int:
        values: dict[Key, Any] = {}
        for path in self.others:
            for batch in parts.read_spill(path, self.first, self.last):
                for key, value in parts.decode(batch):
                    assert key not in values, f"a join needs each key once on its right side, {key!r} is there twice"
                    values[key] = value
        return parts.write_spill(self.output, self._matched(values))

    def _matched(self, values: dict[Key, Any]) -> Iterator[tuple[int, Row]]:
        for path in self.places:
            for batch in parts.read_spill(path, self.first, self.last):
                for key, partition, index in parts.decode(batch):
                    if key in values:
                        yield partition, (partition, index, values[key])


@dataclass(frozen=True)
class PlacedTask(Task):
    """(partition, row number, value) by partition, for values whose key is a place: nothing has to be looked for."""

    scan: Scan

    def run(self) -> int:
        pairs = ((place >> 32, (place >> 32, place & 0xFFFFFFFF, value)) for place, value in self.scan.rows())
        return parts.write_spill(self.output, pairs)


@dataclass(frozen=True)
class GatherTask(Task):
    """The rows of a range of sections out of several spills as one spill, so that whoever wants a section opens one file."""

    spills: tuple[Path, ...]
    first: int
    last: int

    def run(self) -> int:
        return parts.gather(self.output, self.spills, self.first, self.last)


@dataclass(frozen=True)
class SortTask(Task):
    """One partition's rows in the order of `key`: the one task that holds a partition."""

    scan: Scan
    key: Callable[[Row], Any]

    def run(self) -> int:
        return parts.write(self.output, sorted(self.scan.rows(), key=self.key))


@dataclass(frozen=True)
class MergeTask(Task):
    """Sorted parts merged into one."""

    paths: tuple[Path, ...]
    key: Callable[[Row], Any]

    def run(self) -> int:
        return parts.write(self.output, merge(*map(parts.read, self.paths), key=self.key))


def reduced(function: Callable[[Any, Any], Any] | None, values: Iterable[Any]) -> Any:
    """The values of a key as one."""
    assert function is not None, "a group has one"
    return function.all(values) if isinstance(function, Concatenation) else reduce(function, values)


def first_of(row: tuple[Any, Any]) -> Any:
    return row[0]


def second_of(row: tuple[Any, Any]) -> Any:
    return row[1]


def _owner(fn: RowFunction) -> Any:
    """The part that a function is a method of, also where some of its arguments are given already."""
    return getattr(fn.func if isinstance(fn, partial) else fn, "__self__", None)
