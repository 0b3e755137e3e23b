"""Writes a GGUF file, version 3: metadata, then tensors, each read, encoded and written in its turn."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.gguf.encodings import STEP, Encoding, encode
from yanmo.models.gguf.reader import ALIGNMENT, ARRAY, MAGIC, NUMBERS, STRING
from yanmo.models.weights.tensors import elements

VERSION = 3
NAME = 63  # bytes that llama.cpp has room for in a tensor's name
U32, I32, F32, BOOL, U64, I64 = 4, 5, 6, 7, 10, 11


class Planned(NamedTuple):
    """A tensor to be written. `read` gives its numbers as float32 (or as they will be written) when their turn comes."""

    name: str
    encoding: Encoding
    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]


def write(path: Path, metadata: Mapping[str, Any], tensors: Iterable[Planned]) -> None:
    """The file, the same bytes for the same values. Whole numbers are written as 32 bits without a sign where they fit (in
    arrays, as 32 bits with one), others as 64; real ones as 32 bits. DataError names a tensor that its encoding cannot hold."""
    planned = list(tensors)
    header = bytearray(MAGIC + struct.pack("<IQQ", VERSION, len(planned), len(metadata)))
    for key, value in metadata.items():
        header += _string(key) + _value(value, key)
    at = 0
    for tensor in planned:
        if len(tensor.name.encode("utf-8")) > NAME:
            raise DataError(tensor.name, text("a tensor's name of at most {most} bytes", most=NAME))
        assert tensor.shape[-1] % tensor.encoding.block == 0, f"{tensor.name}: {tensor.shape} in {tensor.encoding.name}"
        header += _string(tensor.name) + struct.pack("<I", len(tensor.shape))
        header += struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape)) + struct.pack("<IQ", tensor.encoding.number, at)
        at += _padded(tensor.encoding.bytes(elements(tensor.shape)))
    with open(path, "wb") as file:
        file.write(header + b"\0" * (-len(header) % ALIGNMENT))
        for tensor in planned:
            numbers = tensor.read()
            assert numbers.shape == tensor.shape, f"{tensor.name}: {numbers.shape} where {tensor.shape} was announced"
            flat = numbers.reshape(-1)
            for start in range(0, flat.size, STEP):
                part = flat[start : start + STEP].astype(np.float32, copy=False)
                try:
                    file.write(encode(part, tensor.encoding).data)
                except ValueError:
                    raise DataError(tensor.name, text("numbers that {encoding} can hold", encoding=tensor.encoding.name),
                                    f"{np.abs(part).max():.3g}", text("export it as f32")) from None  # fmt: skip
            file.write(b"\0" * (-tensor.encoding.bytes(flat.size) % ALIGNMENT))


def _padded(size: int) -> int:
    return size + -size % ALIGNMENT


def _string(value: str) -> bytes:
    raw = value.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any, key: str) -> bytes:
    """The type's number and the value."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if isinstance(value, bytes):
        return struct.pack("<IIQ", ARRAY, 0, len(value)) + value
    if isinstance(value, (list, tuple)):
        if all(isinstance(item, str) for item in value):
            return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_string, value))
        kind = _kind(value, I32)
        return struct.pack("<IIQ", ARRAY, kind, len(value)) + np.asarray(value, NUMBERS[kind]).tobytes()
    kind = _kind([value], U32)
    return struct.pack("<I", kind) + np.asarray([value], NUMBERS[kind]).tobytes()


def _kind(values: Any, whole: int) -> int:
    if all(isinstance(value, bool) for value in values):
        return BOOL
    if any(isinstance(value, float) for value in values):
        return F32
    assert all(isinstance(value, int) for value in values), f"{values[:3]} is no value of GGUF"
    for kind in (whole, I32, I64, U64):
        limits = np.iinfo(NUMBERS[kind])
        if all(limits.min <= value <= limits.max for value in values):
            return kind
    raise AssertionError(f"{values[:3]} is no value of GGUF")
