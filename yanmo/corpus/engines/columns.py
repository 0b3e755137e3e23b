"""Python values as Arrow columns, out of buffers, and back.

`pyarrow.array` imports pandas where it is installed, only to ask whether its argument comes from there: a third of a second
in every process that writes a row. `to_pylist` makes an object of its own for each value before it makes Python's.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

CODES = {pa.int64(): "q", pa.float64(): "d"}
WIDE = (pa.large_string(),)  # counted with 64 bits
MOST = (1 << 31) - 1


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """`values` (None for null) as numbers, strings, bytes, or mappings of those; TypeError where one is of another type."""
    missing = values.count(None)
    valid = pa.py_buffer(np.packbits([value is not None for value in values], bitorder="little")) if missing else None
    if kind in CODES:
        plain = array(CODES[kind], [0 if value is None else value for value in values] if missing else values)
        return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(plain)], missing)
    if pa.types.is_map(kind):
        mappings = [{} if value is None else value for value in values]
        sizes = offsets(map(len, mappings), np.int32)
        keys = column(list(chain.from_iterable(mappings)), kind.key_type)
        items = column([item for mapping in mappings for item in mapping.values()], kind.item_type)
        entries = pa.StructArray.from_arrays([keys, items], fields=[kind.key_field, kind.item_field])
        return pa.Array.from_buffers(kind, len(values), [valid, sizes], missing, children=[entries])
    empty: Any = b"" if kind == pa.binary() else ""
    held = [empty if value is None else value for value in values] if missing else values
    data, sizes = joined(held) if kind != pa.binary() else (b"".join(held), map(len, held))
    places = offsets(sizes, np.int64 if kind in WIDE else np.int32)
    return pa.Array.from_buffers(kind, len(values), [valid, places, pa.py_buffer(data)], missing)


def values(column: pa.Array) -> list[Any]:
    """The column's numbers, strings or bytes, None for null: what `to_pylist` gives."""
    kind, count, start = column.type, len(column), column.offset
    if column.null_count == count:
        return [None] * count
    if column.null_count or kind not in (*CODES, *WIDE, pa.string(), pa.binary()):
        return column.to_pylist()
    places, data = column.buffers()[1], column.buffers()[-1]
    if kind in CODES:
        return np.frombuffer(places, CODES[kind])[start : start + count].tolist()
    ends = np.frombuffer(places, np.int64 if kind in WIDE else np.int32)[start : start + count + 1].tolist()
    held = memoryview(data or b"")
    if kind == pa.binary():
        return [bytes(held[first:end]) for first, end in pairwise(ends)]
    return [str(held[first:end], "utf-8") for first, end in pairwise(ends)]


def joined(strings: Sequence[str]) -> tuple[bytes, Iterable[int]]:
    """Their UTF-8 as one, and the size of each."""
    whole = "".join(strings)
    data = whole.encode()
    return data, map(len, strings) if len(data) == len(whole) else (len(string.encode()) for string in strings)


def numbers(values: NDArray[Any]) -> pa.Array:
    """An array of numbers as it is."""
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)], 0)


def offsets(sizes: Iterable[int], width: type[np.signedinteger[Any]]) -> pa.Buffer:
    """Where each of some values begins, and where the last one ends."""
    ends = np.cumsum(np.fromiter(chain((0,), sizes), np.int64))
    if width is np.int32 and ends[-1] > MOST:
        raise OverflowError(f"{ends[-1]} bytes in one batch of a column")
    return pa.py_buffer(ends.astype(width))
