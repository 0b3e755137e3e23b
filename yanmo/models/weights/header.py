"""A safetensors file's header, checked whole before a byte of its data is touched.

    8 bytes: N, little endian · N bytes of JSON: {name: {dtype, shape, data_offsets: [begin, end]}} · the data

A sound file's tensors cover its data exactly: none outside, no two over each other, nothing between or behind them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from yanmo.core.errors import CorruptError, DataError
from yanmo.core.files import pointer
from yanmo.core.messages import Text, text
from yanmo.models.weights.tensors import elements

LIMIT = 100 << 20  # bytes of a header: the format's own
LARGE = 1 << 20  # from here on a parser that knows what to expect looks first: no list of a million lists is built
DIMENSIONS = 16

# In the order in which `safetensors` writes types: the widest first, so that all are aligned.
DTYPES = {
    "U64": torch.uint64, "I64": torch.int64, "F64": torch.float64, "F32": torch.float32, "U32": torch.uint32,
    "I32": torch.int32, "BF16": torch.bfloat16, "F16": torch.float16, "U16": torch.uint16, "I16": torch.int16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


class Entry(NamedTuple):
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # in the data
    end: int


def read_header(path: Path) -> dict[str, Entry]:
    """The file's tensors by name. DataError where there is no file, CorruptError naming what is wrong with it."""

    def wrong(given: Text) -> CorruptError:
        return CorruptError(str(path), text("a safetensors file"), given)

    if not path.is_file():
        raise DataError(str(path), text("a safetensors file"), text("no such file"))
    size = path.stat().st_size
    with open(path, "rb") as file:
        begin = file.read(8)
        length = int.from_bytes(begin, "little")
        if (said := pointer(begin + file.read(64))) is not None:
            raise wrong(said)
        file.seek(8)
        if size < 8 or length > size - 8:
            raise wrong(text("a header of {length} bytes in a file of {size}", length=length, size=size))
        if length > LIMIT:
            raise wrong(text("a header of {length} bytes, more than {limit}", length=length, limit=LIMIT))
        source = file.read(length)
    if length > LARGE:
        _typed(path, wrong)
    try:
        fields = json.loads(source.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise wrong(text("a header that is no JSON of tensors: {error}", error=" ".join(str(error).split())[:200])) from None
    if not isinstance(fields, dict):
        raise wrong(text("a header that is no JSON of tensors: {error}", error=type(fields).__name__))
    fields.pop("__metadata__", None)
    entries = {}
    for name, field in fields.items():
        entry = _entry(field)
        if isinstance(entry, Text):
            raise wrong(text("{name}: {problem}", name=name, problem=entry))
        entries[name] = entry
    problem = _covering(entries, size - 8 - length)
    if problem is not None:
        raise wrong(problem)
    return entries


def _entry(field: Any) -> Entry | Text:
    try:
        dtype, shape, (start, end) = field["dtype"], field["shape"], field["data_offsets"]
        if set(field) != {"dtype", "shape", "data_offsets"} or not isinstance(shape, list) or len(shape) > DIMENSIONS:
            raise TypeError
        if not all(type(number) is int and 0 <= number < 1 << 63 for number in (*shape, start, end)):
            raise TypeError
    except (TypeError, KeyError, ValueError):
        return text("not a dtype, a shape and two offsets")
    if dtype not in DTYPES:
        return text("dtype {dtype}", dtype=str(dtype)[:40])
    needed = elements(tuple(shape)) * DTYPES[dtype].itemsize
    if end - start != needed:
        return text("{given} bytes where {dtype} {shape} takes {needed}", given=end - start, dtype=dtype,
                    shape=tuple(shape), needed=needed)  # fmt: skip
    return Entry(DTYPES[dtype], tuple(shape), start, end)


def _covering(entries: dict[str, Entry], size: int) -> Text | None:
    """What keeps the tensors from covering `size` bytes of data exactly."""
    at, before = 0, ""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.end > size:
            return text("{name} ends at byte {end} of {size}: the file is cut short", name=name, end=entry.end, size=size)
        if entry.start < at:
            return text("{name} and {other} overlap", name=name, other=before)
        if entry.start > at:
            return text("{count} bytes before {name} that belong to no tensor", count=entry.start - at, name=name)
        at, before = entry.end, name
    return text("{count} bytes behind the last tensor", count=size - at) if at < size else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise ValueError(str(text("{name} stands there twice", name=next(n for n, _ in pairs if n in seen or seen.add(n)))))  # type: ignore[func-returns-value]
    return found


def _typed(path: Path, wrong: Any) -> None:
    """Refuses what is no header in a fraction of the memory that plain JSON of this size could take."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            pass
    except SafetensorError as error:
        raise wrong(text("a header that is no JSON of tensors: {error}", error=str(error)[:200])) from None
