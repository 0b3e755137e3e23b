"""A GGUF file, opened: its metadata, and its tensors where they lie in the mapped file.

    magic, version, counts · key-value pairs · tensor descriptions · padding · data, each tensor at a multiple of `alignment`

The header is checked whole before a tensor is read: every length against what is left of the file, every tensor inside the
data and behind the one before it. What llama.cpp would refuse is refused here, by name.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from yanmo.core.errors import CorruptError, DataError
from yanmo.core.files import pointer
from yanmo.core.messages import Text, text
from yanmo.models.gguf.encodings import BY_NUMBER, READ, Encoding, decode
from yanmo.models.weights.tensors import elements

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
ELEMENTS = 1 << 24  # of one array: a hundred times the largest vocabulary
DIMENSIONS = 4

# Value types by number: numpy's name for those of a fixed size.
NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
STRING, ARRAY = 8, 9
LEAST_PAIR = 8 + 4 + 1  # bytes of the shortest key-value pair
LEAST_TENSOR = 8 + 4 + 8 + 4 + 8


class Stored(NamedTuple):
    """A tensor in the file. `shape` is outermost first, as everywhere but in the file."""

    encoding: Encoding
    shape: tuple[int, ...]
    start: int  # in the file
    size: int  # bytes


class Gguf:
    """`metadata`: keys to plain values (arrays are lists); `tensors`: names to where they are."""

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise DataError(str(path), text("a GGUF file"), text("no such file"))
        if path.stat().st_size < 24:
            raise CorruptError(str(path), text("a GGUF file"), text("{size} bytes", size=path.stat().st_size))
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        cursor = Cursor(self._map, str(path))
        tensors, pairs = _counts(cursor)
        self.metadata = _metadata(cursor, pairs)
        self.alignment = _alignment(self.metadata, cursor)
        self.tensors = _tensors(cursor, tensors, self.alignment)

    def numbers(self, name: str, part: int = 0, parts: int = 1) -> NDArray[Any]:
        """A tensor as float32, or as what it is where it is F16; of `parts` equal ones along the first dimension, one."""
        encoding, shape, start, size = self.tensors[name]
        if encoding.decode is None:
            raise DataError(f"{self.path}: {name}", text("one of {choices}", choices=", ".join(READ)), encoding.name,
                            text("convert it with llama.cpp's llama-quantize first"))  # fmt: skip
        if parts > 1:
            assert shape[0] == parts, f"{shape[0]} rows of {name} where {parts} were asked for"
            shape, size = shape[1:], size // parts
            start += part * size
        stored = np.frombuffer(self._map, np.uint8, size, start)
        if encoding.name == "F16":
            return stored.view("<f2").reshape(shape).copy()
        return decode(stored, encoding).reshape(shape)

    def bits(self, name: str, part: int = 0, parts: int = 1) -> NDArray[Any]:
        """The 16 bits of each number of a BF16 tensor, which numpy has no type for."""
        _, shape, start, size = self.tensors[name]
        if parts > 1:
            shape, size = shape[1:], size // parts
            start += part * size
        return np.frombuffer(self._map, "<i2", size // 2, start).reshape(shape).copy()


class Cursor:
    """Reads on from a place, never past the file's end."""

    def __init__(self, buffer: mmap.mmap, where: str):
        self.buffer, self.where, self.at, self.end = buffer, where, 0, len(buffer)

    def fail(self, given: str | Text) -> NoReturn:
        raise CorruptError(self.where, text("a GGUF file"), given)

    def take(self, count: int, what: str) -> bytes:
        if count > self.end - self.at:
            self.fail(text("{what} of {count} bytes, of which {left} are there", what=what, count=count, left=self.end - self.at))
        self.at += count
        return self.buffer[self.at - count : self.at]

    def number(self, size: int = 8) -> int:
        return int.from_bytes(self.take(size, text("a number").render()), "little")

    def string(self, what: str) -> str:
        raw = self.take(self.number(), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fail(text("{what} that is not UTF-8: {start}", what=what, start=repr(raw[:40])))

    def value(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self.string(key)
        if kind == ARRAY:
            return self._array(key)
        if kind not in NUMBERS:
            self.fail(text("{key} of the unknown type {kind}", key=key, kind=kind))
        return self._numbers(kind, 1, key)[0]

    def _array(self, key: str) -> list[Any]:
        kind, count = self.number(4), self.number()
        if count > ELEMENTS:
            self.fail(text("{key} of {count} elements, more than {most}", key=key, count=count, most=ELEMENTS))
        if kind == STRING:
            if count * 8 > self.end - self.at:
                self.take(count * 8, key)
            return [self.string(key) for _ in range(count)]
        if kind not in NUMBERS:  # arrays of arrays: nothing that a model needs is one
            self.fail(text("{key} of the unknown type {kind}", key=key, kind=kind))
        return self._numbers(kind, count, key)

    def _numbers(self, kind: int, count: int, key: str) -> list[Any]:
        dtype = np.dtype(NUMBERS[kind])
        values = np.frombuffer(self.take(count * dtype.itemsize, key), "u1" if kind == 7 else dtype)
        if kind == 7 and values.size and int(values.max()) > 1:
            self.fail(text("{key}: {given} where true or false belongs", key=key, given=int(values.max())))
        return values.astype(dtype).tolist()


def _counts(cursor: Cursor) -> tuple[int, int]:
    magic = cursor.take(4, "")
    if (said := pointer(cursor.buffer[:64])) is not None:
        cursor.fail(said)
    if magic != MAGIC:
        cursor.fail(text("a file that begins with {start}", start=repr(magic)))
    version = cursor.number(4)
    if version not in VERSIONS:
        big = int.from_bytes(version.to_bytes(4, "little"), "big")
        cursor.fail(text("big-endian numbers") if big in VERSIONS else text("version {version}", version=version))
    tensors, pairs = cursor.number(), cursor.number()
    if tensors * LEAST_TENSOR + pairs * LEAST_PAIR > cursor.end - cursor.at:
        cursor.fail(text("{tensors} tensors and {pairs} settings in {size} bytes", tensors=tensors, pairs=pairs, size=cursor.end))
    return tensors, pairs


def _metadata(cursor: Cursor, pairs: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.string(text("the name of a setting").render())
        if key in found:
            cursor.fail(text("{name} stands there twice", name=key))
        found[key] = cursor.value(cursor.number(4), key)
    return found


def _alignment(metadata: dict[str, Any], cursor: Cursor) -> int:
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        cursor.fail(text("an alignment of {given}, which is no power of two", given=str(alignment)[:40]))
    return alignment


def _tensors(cursor: Cursor, count: int, alignment: int) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for _ in range(count):
        name = cursor.string(text("the name of a tensor").render())
        if name in found:
            cursor.fail(text("{name} stands there twice", name=name))
        dimensions = cursor.number(4)
        if not 1 <= dimensions <= DIMENSIONS:
            cursor.fail(text("{name} of {count} dimensions", name=name, count=dimensions))
        shape = tuple(cursor.number() for _ in range(dimensions))[::-1]
        number, offset = cursor.number(4), cursor.number()
        if number not in BY_NUMBER:
            cursor.fail(text("{key} of the unknown type {kind}", key=name, kind=number))
        encoding = BY_NUMBER[number]
        if 0 in shape or shape[-1] % encoding.block:
            cursor.fail(text("{name} of shape {shape} in blocks of {block}", name=name, shape=shape, block=encoding.block))
        if offset % alignment:
            cursor.fail(text("{name} at byte {offset}, which is no multiple of {alignment}", name=name, offset=offset,
                             alignment=alignment))  # fmt: skip
        found[name] = Stored(encoding, shape, offset, encoding.bytes(elements(shape)))
    data = cursor.at + -cursor.at % alignment
    _lie(found, cursor, cursor.end - data, alignment)
    return {name: stored._replace(start=data + stored.start) for name, stored in found.items()}


def _lie(tensors: dict[str, Stored], cursor: Cursor, size: int, alignment: int) -> None:
    """Refuses tensors that are outside the data, over each other, or with more than padding between them."""
    at, before = 0, ""
    for name, stored in sorted(tensors.items(), key=lambda item: item[1].start):
        if stored.start + stored.size > size:
            cursor.fail(text("{name} ends at byte {end} of {size}: the file is cut short", name=name,
                             end=stored.start + stored.size, size=max(size, 0)))  # fmt: skip
        if stored.start < at:
            cursor.fail(text("{name} and {other} overlap", name=name, other=before))
        padded = at + -at % alignment
        if stored.start > padded:
            cursor.fail(text("{count} bytes before {name} that belong to no tensor", count=stored.start - padded, name=name))
        at, before = stored.start + stored.size, name
