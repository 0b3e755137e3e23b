"""What runs on Spark's executors: tasks that give rows to be shuffled, and what is done with shuffled rows.

A shuffled row is (target, key, partition, index, value): the partition of the shuffle, the key in bytes that sort as the
key does, the place of the row that it comes from, a pickle. Sorted by key, partition and index, equal keys come together
and in the corpus's order, so that nothing has to be held.
"""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from yanmo.core.data import Document
from yanmo.corpus.dataset import Key, Row
from yanmo.corpus.engines import parts
from yanmo.corpus.engines.tasks import SECTIONS, PlaceTask, SortTask, SpillTask, Task, reduced
from yanmo.corpus.engines.worker import portable

MADE = pa.schema([("name", pa.string()), ("rows", pa.int64())])
SHUFFLED = pa.schema([("target", pa.int32()), ("key", pa.binary()), ("partition", pa.int32()), ("index", pa.int64()),
                      ("value", pa.binary())])  # fmt: skip
NAMES = {pa.string(): "string", pa.int64(): "bigint", pa.int32(): "int", pa.binary(): "binary"}
BATCH_ROWS, BATCH_BYTES = 2000, 4 << 20
MARK, END = "yanmo-error:", ":"
RIGHT = -1  # the partition of a join's right side, which comes before every left one
ITSELF = -1  # the target of rows that are shuffled into ranges: the partition where they arrive

HALF = 1 << 63
HEADS = {kind: [bytes((section,)) + kind for section in range(SECTIONS)] for kind in (b"b", b"s", b"i")}

Shuffled = tuple[int, bytes, int, int, bytes]


def columns(schema: pa.Schema) -> str:
    """A schema as Spark writes it."""
    return ", ".join(f"`{field.name}` {NAMES[field.type]}" for field in schema)


# ------------------------------------------------------------------------------------------------ to executors and back


@dataclass(frozen=True)
class Packed:
    """Something pickled, with the working directory and the module paths that it needs."""

    data: bytes
    folder: str
    paths: list[str]

    @classmethod
    def of(cls, value: Any, paths: list[str]) -> Packed:
        try:
            return cls(pickle.dumps(value), os.getcwd(), paths)
        except (AttributeError, pickle.PicklingError, TypeError) as error:
            raise TypeError(f"a function of the plan cannot travel to an executor (is it a lambda?): {error}") from error

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """The value, in its working directory. What fails there is raised as ExecutorError, which the driver understands."""
        import pyarrow

        before = os.getcwd()
        sys.path += [path for path in self.paths if path not in sys.path]
        pyarrow.set_cpu_count(1)
        pyarrow.set_io_thread_count(1)
        try:
            with contextlib.suppress(FileNotFoundError):  # where every path is absolute it is not needed
                os.chdir(self.folder)
            yield pickle.loads(self.data)
        except Exception as error:
            raise ExecutorError.of(error) from error
        finally:
            os.chdir(before)


class ExecutorError(Exception):
    """An exception in a form that outlives Java: its pickle within the message."""

    @classmethod
    def of(cls, error: Exception) -> ExecutorError:
        return cls(MARK + base64.b64encode(pickle.dumps(portable(error))).decode() + END)

    @staticmethod
    def within(message: str) -> BaseException | None:
        found = re.search(f"{MARK}([A-Za-z0-9+/=]+){END}", message)
        return pickle.loads(base64.b64decode(found[1])) if found else None


# ------------------------------------------------------------------------------------------------ keys as bytes


def keyed(sections: Sequence[int], keys: Sequence[Key]) -> list[bytes]:
    """Keys of one kind as bytes that sort by section and then as the keys do: what the files of the local engine do."""
    match keys[0]:
        case bytes():
            return [head + key for head, key in zip(map(HEADS[b"b"].__getitem__, sections), keys)]  # type: ignore[operator]
        case str():  # code points and their UTF-8 sort alike
            return [head + key.encode() for head, key in zip(map(HEADS[b"s"].__getitem__, sections), keys)]  # type: ignore[union-attr]
        case int():
            heads = map(HEADS[b"i"].__getitem__, sections)
            return [head + (key + HALF).to_bytes(8, "big") for head, key in zip(heads, keys)]  # type: ignore[operator]
    raise TypeError(f"keys are int, str or bytes, not {type(keys[0]).__name__}: {keys[0]!r:.80}")


def key_of(data: bytes) -> Key:
    """The key that `keyed` wrote."""
    kind, rest = data[1:2], data[2:]
    return rest if kind == b"b" else rest.decode() if kind == b"s" else int.from_bytes(rest, "big") - HALF


def sortable(key: Any) -> bytes:
    """Bytes that compare as the keys of a sort do: numbers, strings, bytes, or tuples of these."""
    if isinstance(key, str):
        return b"s" + key.encode()  # code points and their UTF-8 sort alike
    if isinstance(key, bytes):
        return b"b" + key
    if isinstance(key, int | float):
        near = float(key) + 0.0  # -0.0 is 0.0
        bits = struct.unpack(">Q", struct.pack(">d", near))[0]
        bits = bits ^ 0xFFFFFFFFFFFFFFFF if bits >> 63 else bits | 1 << 63
        rest = int(key) - int(near) if isinstance(key, int) else 0  # of an integer that no float is
        return b"n" + bits.to_bytes(8, "big") + (rest + HALF).to_bytes(8, "big")
    if isinstance(key, tuple):
        return b"t" + b"".join(sortable(item).replace(b"\0", b"\0\xff") + b"\0\0" for item in key)
    raise TypeError(f"keys are int, float, str, bytes or tuples of these, not {type(key).__name__}: {key!r:.80}")


# ------------------------------------------------------------------------------------------------ what tasks give


@dataclass(frozen=True)
class Give:
    """How a task's rows are given to the shuffle: `targets` is its number of partitions."""

    targets: int

    def pairs(self, number: int, task: SpillTask) -> Iterator[pa.RecordBatch]:
        """A group's (key, value), or the right side of a join."""
        partition = RIGHT if task.reduce is None else number
        for first, sections, rows in _chunks(task.pairs()):
            keys, values = zip(*rows)
            packed = [pickle.dumps(value, 5) for value in values]
            yield self._batch(sections, keys, [partition] * len(rows), range(first, first + len(rows)), packed)

    def places(self, number: int, task: PlaceTask) -> Iterator[pa.RecordBatch]:
        for _, sections, rows in _chunks(task.pairs()):
            keys, partitions, indices = zip(*rows)
            yield self._batch(sections, keys, partitions, indices, [b""] * len(rows))

    def rows(self, number: int, task: SortTask) -> Iterator[pa.RecordBatch]:
        return _batches((ITSELF, sortable(task.key(row)), number, index, pickle.dumps(_bare(row), 5))
                        for index, row in enumerate(task.scan.rows()))  # fmt: skip

    def _batch(self, sections: Sequence[int], keys: Sequence[Key], *others: Sequence[Any]) -> pa.RecordBatch:
        targets = np.array(sections, np.int64) * self.targets // SECTIONS
        return _batch(targets.astype(np.int32), keyed(sections, keys), *others)


def made(number: int, task: Task) -> Iterator[pa.RecordBatch]:
    """Runs the task, which writes its file."""
    yield _made(task.output, task.run())


def _made(path: Path, rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([path.name]), pa.array([rows], pa.int64())], schema=MADE)


def _bare(row: Row) -> Row:
    return replace(row, cache=None) if isinstance(row, Document) else row


def _batches(rows: Iterable[Shuffled]) -> Iterator[pa.RecordBatch]:
    held: list[Shuffled] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row[4])
        if len(held) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _batch(*zip(*held))
            held, size = [], 0
    if held:
        yield _batch(*zip(*held))


def _chunks(pairs: Iterator[tuple[int, Row]]) -> Iterator[tuple[int, Sequence[int], Sequence[Row]]]:
    """(number of the first, sections, rows) of so many pairs at a time."""
    first = 0
    while held := list(islice(pairs, BATCH_ROWS)):
        sections, rows = zip(*held)
        yield first, sections, rows
        first += len(held)


def _batch(*found: Any) -> pa.RecordBatch:
    arrays = [pa.array(column, field.type) for column, field in zip(found, SHUFFLED)]
    return pa.RecordBatch.from_arrays(arrays, schema=SHUFFLED)


# ------------------------------------------------------------------------------------------------ what is done with the shuffled


@dataclass(frozen=True)
class After:
    """A function for `mapInArrow` over sorted, shuffled rows. `packed` holds (what, folder, reduce).

    It writes a file for each target, and gives the name and the number of rows of each."""

    packed: Packed

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with self.packed.opened() as (write, folder, reduce):
            for target, rows in groupby(_unpacked(batches), key=itemgetter(0)):
                number = _arrived_in() if target == ITSELF else target
                path = folder / f"{number:05d}.arrow"
                yield _made(path, write(path, rows, reduce))


def _arrived_in() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None, "on an executor"
    return context.partitionId()


def _unpacked(batches: Iterator[pa.RecordBatch]) -> Iterator[Shuffled]:
    for batch in batches:
        found = [batch.column(name) for name in SHUFFLED.names]
        yield from zip(*(c.to_numpy().tolist() if pa.types.is_integer(c.type) else c.to_pylist() for c in found))


def combine(path: Path, rows: Iterator[Shuffled], reduce: Callable[[Any, Any], Any]) -> int:
    """Writes (key, value), each key once, as `ReduceTask` does."""
    return parts.write(path, _combined(rows, reduce))


def _combined(rows: Iterator[Shuffled], reduce: Callable[[Any, Any], Any]) -> Iterator[Row]:
    for key, group in groupby(rows, key=itemgetter(1)):
        yield key_of(key), reduced(reduce, (pickle.loads(row[4]) for row in group))


def match(path: Path, rows: Iterator[Shuffled], _: Any) -> int:
    """Writes (partition, row number, value) by partition, as `MatchTask` does."""
    return parts.write_spill(path, _matched(rows))


def _matched(rows: Iterator[Shuffled]) -> Iterator[tuple[int, Row]]:
    known, value = None, None
    for _, key, partition, index, packed in rows:
        if partition == RIGHT:
            assert key != known, f"a join needs each key once on its right side, {key_of(key)!r} is there twice"
            known, value = key, pickle.loads(packed)
        elif key == known:
            yield partition, (partition, index, value)


def arrange(path: Path, rows: Iterator[Shuffled], _: Any) -> int:
    """Writes the rows of one range of a sort."""
    return parts.write(path, (pickle.loads(row[4]) for row in rows))
