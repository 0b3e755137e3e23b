"""Rows in files between two passes: Arrow, written in batches, read back a batch at a time.

A `part` holds the rows of one partition in their order, compressed: one or several Arrow streams behind each other, so
that a part can grow across a kill (`growing.py`). A `spill` holds rows sorted into sections, such that a later task
reads the few sections that concern it out of every spill; it is mapped into memory, so that the others cost nothing. Both
are whole or absent under their name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from yanmo.core.data import Document, Origin, Rejection
from yanmo.core.files import atomic
from yanmo.corpus.dataset import Row
from yanmo.corpus.engines.columns import column, numbers, values

BATCH_ROWS, BATCH_BYTES = 1000, 4 << 20
DOCUMENT = pa.schema([
    ("order", pa.int64()), ("id", pa.string()), ("text", pa.large_string()), ("source", pa.string()), ("file", pa.string()),
    ("member", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("meta", pa.string()), ("step", pa.string()),
    ("reason", pa.string()), ("value", pa.string()),
])  # fmt: skip
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}
SECTION = "section"


def compact(value: Any) -> str:
    """JSON on one line; escaped where a string holds half a surrogate pair, which UTF-8 cannot."""
    shown = ENCODER.encode(value)
    try:
        shown.encode("utf-8")
    except UnicodeEncodeError:
        shown = json.dumps(value, separators=(",", ":"))
    return shown


# ------------------------------------------------------------------------------------------------ rows as columns


def encode(rows: list[Row]) -> pa.RecordBatch:
    """One batch of rows of one kind: documents, or flat tuples of int, float, str and bytes (or of such tuples)."""
    if isinstance(rows[0], Document):
        return _documents(rows)
    names, columns = [], []
    for index, value in enumerate(rows[0]):
        if isinstance(value, tuple):
            for inner, item in enumerate(value):
                names.append(f"{index}.{inner}")
                columns.append(column([row[index][inner] for row in rows], _type(item)))
        else:
            names.append(str(index))
            columns.append(column([row[index] for row in rows], _type(value)))
    return pa.RecordBatch.from_arrays(columns, names)


def _type(value: Any) -> pa.DataType:
    if type(value) not in TYPES:
        kinds = "documents or flat tuples of int, float, str and bytes"
        raise TypeError(f"rows are {kinds}, not {type(value).__name__}: {value!r:.80}")
    return TYPES[type(value)]


def decode(batch: pa.RecordBatch) -> Iterator[Row]:
    columns = [values(column) for column in batch.columns]
    names = batch.schema.names
    if "order" in names:
        for order, id_, text, source, file, member, start, end, meta, step, reason, value in zip(*columns):
            rejection = Rejection(step, reason, json.loads(value)) if step is not None else None
            found = {} if meta == "{}" else json.loads(meta)
            yield Document(id_, text, Origin(file, member, start, end), source, found, rejection, order)
        return
    outer: dict[str, Any] = {}  # elements in order; those that are tuples themselves put together again
    for name, held in zip(names, columns):
        head, inner, _ = name.partition(".")
        if inner:
            outer.setdefault(head, []).append(held)
        else:
            outer[head] = held
    nested = {name.partition(".")[0] for name in names if "." in name}
    yield from zip(*(zip(*held) if head in nested else held for head, held in outer.items()))


def _documents(rows: list[Document]) -> pa.RecordBatch:
    rejections = [doc.rejection for doc in rows]
    columns: list[list[Any]] = [
        [doc.order for doc in rows], [doc.id for doc in rows], [doc.text for doc in rows], [doc.source for doc in rows],
        [doc.origin.file for doc in rows], [doc.origin.member for doc in rows], [doc.origin.start for doc in rows],
        [doc.origin.end for doc in rows], [compact(doc.meta) if doc.meta else "{}" for doc in rows],
        [r and r.step for r in rejections], [r and r.reason for r in rejections], [r and compact(r.value) for r in rejections],
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays([column(c, f.type) for c, f in zip(columns, DOCUMENT)], schema=DOCUMENT)


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in lists of at most BATCH_ROWS and, but for the last of each, BATCH_BYTES characters."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.text) if isinstance(row, Document) else 1
        if len(held) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


# ------------------------------------------------------------------------------------------------ parts


def write(path: Path, rows: Iterable[Row]) -> int:
    """Writes a part; the number of rows."""
    count, stream = 0, None
    with atomic(path) as temporary, open(temporary, "wb") as file:
        for held in batches(rows):
            batch = encode(held)
            if stream is None:
                stream = opened_stream(file, batch.schema)
            stream.write_batch(batch)
            count += len(held)
        (stream or opened_stream(file, pa.schema([]))).close()
    return count


def opened_stream(file: Any, schema: pa.Schema) -> Any:
    return ipc.new_stream(file, schema, options=ipc.IpcWriteOptions(compression="zstd", use_threads=False))


def read(path: Path) -> Iterator[Row]:
    for batch in _stored(path):
        yield from decode(batch)


def read_at(path: Path, numbers_: Collection[int]) -> Iterator[Row]:
    """The rows with these numbers, in the part's order; no other becomes an object."""
    wanted = np.sort(np.fromiter(numbers_, np.int64, len(numbers_)))
    first = 0
    for batch in _stored(path):
        start, end = np.searchsorted(wanted, (first, first + batch.num_rows))
        if start < end:
            yield from decode(batch.take(numbers(wanted[start:end] - first)))
        first += batch.num_rows


def _stored(path: Path) -> Iterator[pa.RecordBatch]:
    size = path.stat().st_size
    with pa.OSFile(str(path)) as file:
        while file.tell() < size:
            yield from ipc.open_stream(file, options=ipc.IpcReadOptions(use_threads=False))


# ------------------------------------------------------------------------------------------------ spills


class _Spill:
    """A file of batches, all of the first one's schema, each with its sections; one without any for no rows."""

    def __init__(self, path: Path):
        self.path = path
        self.stream: Any = None

    def add(self, batch: pa.RecordBatch, about: dict[int, list[int]]) -> None:
        if self.stream is None:
            self.stream = self._open(batch.schema)
        self.stream.write_batch(batch, custom_metadata={"sections": json.dumps(about)})

    def _open(self, schema: pa.Schema) -> Any:
        return ipc.new_file(str(self.path), schema, options=ipc.IpcWriteOptions(use_threads=False))

    def __enter__(self) -> _Spill:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.stream is None and kind is None:
            self.stream = self._open(pa.schema([]))
        if self.stream is not None:
            self.stream.close()


def write_spill(path: Path, rows: Iterable[tuple[int, Row]], flush: int = 50_000) -> int:
    """Writes (section, row) pairs, each batch of `flush` sorted by section; the number of rows."""
    count = 0
    pairs = iter(rows)
    with atomic(path) as temporary, _Spill(temporary) as writer:
        while held := list(islice(pairs, flush)):
            count += len(held)
            held.sort(key=lambda pair: pair[0])  # stable: rows of a section keep their order
            about: dict[int, list[int]] = {}
            end = 0
            for section, size in Counter(section for section, _ in held).items():  # in the order of the sections
                about[section] = [end, end := end + size]
            writer.add(encode([row for _, row in held]), about)
    return count


def read_spill(path: Path, first: int, last: int) -> Iterator[pa.RecordBatch]:
    """The spill's rows of sections first … last - 1, a slice for each batch that has some."""
    with pa.memory_map(str(path)) as file, ipc.open_file(file) as stream:
        for index in range(stream.num_record_batches):
            batch, metadata = stream.get_batch_with_custom_metadata(index)
            spans = [span for section, span in json.loads(metadata[b"sections"]).items() if first <= int(section) < last]
            if spans:
                start, end = min(a for a, _ in spans), max(b for _, b in spans)
                yield batch.slice(start, end - start)


def read_sections(path: Path, first: int, last: int) -> Iterator[pa.RecordBatch]:
    """As `read_spill`, with a further column SECTION behind the row's own."""
    with pa.memory_map(str(path)) as file, ipc.open_file(file) as stream:
        for index in range(stream.num_record_batches):
            batch, metadata = stream.get_batch_with_custom_metadata(index)
            spans = {int(s): span for s, span in json.loads(metadata[b"sections"]).items() if first <= int(s) < last}
            if spans:
                section = np.repeat(np.array(list(spans), np.int32), [end - start for start, end in spans.values()])
                start = min(start for start, _ in spans.values())
                yield batch.slice(start, len(section)).append_column(SECTION, numbers(section))


def gather(path: Path, spills: Iterable[Path], first: int, last: int) -> int:
    """Writes the rows of sections first … last - 1 of several spills as one spill of one batch; the number of rows."""
    found = list(chain.from_iterable(read_sections(spill, first, last) for spill in spills))
    with atomic(path) as temporary, _Spill(temporary) as writer:
        if found:
            table = pa.Table.from_batches(found).sort_by(SECTION).combine_chunks()
            batch = table.to_batches()[0]
            known, starts = np.unique(batch.column(SECTION), return_index=True)
            ends = [*starts[1:].tolist(), len(batch)]
            writer.add(batch.drop_columns(SECTION), dict(zip(known.tolist(), map(list, zip(starts.tolist(), ends)))))
    return sum(map(len, found))


def sections(path: Path) -> dict[int, int]:
    """How many rows each section of a spill has."""
    found: dict[int, int] = {}
    with pa.memory_map(str(path)) as file, ipc.open_file(file) as stream:
        for index in range(stream.num_record_batches):
            metadata = stream.get_batch_with_custom_metadata(index)[1]
            for section, (start, end) in json.loads(metadata[b"sections"]).items():
                found[int(section)] = found.get(int(section), 0) + end - start
    return found
