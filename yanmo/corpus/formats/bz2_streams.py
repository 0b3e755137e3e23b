"""A .bz2 file as the streams that it is made of: each read alone, or all in turn; where the next one begins.

What is given was checked: a block's checksum comes behind it, so the last block is held back until then, and is not given
where it is wrong. (`compressed.py` reads any format in turn; here a stream can be entered, and is left at its end.)
"""

from __future__ import annotations

import bz2
import re
from collections import deque
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from yanmo.corpus.engines.local import cores
from yanmo.corpus.formats.compressed import FREE, RATIO, Damage

READ = 256 << 10  # compressed bytes read at a time
STEP = 128 << 10  # bytes decompressed at a time
LONG = 16 << 20  # decompressed bytes after which a stream that was read so far counts as intact
BEGINS = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
ENDS = 0x177245385090  # what a stream ends with, then 32 bits of checksum, at any bit


class Stream:
    """One bz2 stream, from compressed byte `start` of a handle on. `end`: the byte behind it, once it was read whole.

    The decoder puts out a block before it looks at the block's checksum. So as many bytes as a block can have are held back
    until more came out, and are not given at all where damage is found. Of a stream that is cut off all is given."""

    def __init__(self, handle: IO[bytes], start: int):
        self.handle, self.start, self.end, self.block = handle, start, -1, 900_000

    def __iter__(self) -> Iterator[bytes]:
        held: deque[bytes] = deque()
        holding = 0
        try:
            for out in self.unchecked(STEP):
                held.append(out)
                holding += len(out)
                while holding - len(held[0]) >= self.block:
                    holding -= len(held[0])
                    yield held.popleft()
        except Damage as damage:
            if damage.reason == "truncated_bz2":
                yield from held
            raise
        yield from held

    def unchecked(self, step: int) -> Iterator[bytes]:
        """What comes out, as it comes, up to `step` bytes at a time."""
        self.handle.seek(self.start)
        decoder = bz2.BZ2Decompressor()
        fed = given = 0
        while not decoder.eof:
            data = b""
            if decoder.needs_input:
                data = self.handle.read(READ)
                if not fed and data[3:4].isdigit():
                    self.block = int(data[3:4]) * 100_000
                fed += len(data)
                if not data:
                    raise Damage("truncated_bz2", "it ends before its end", self.start, self.start + fed, given)
            try:
                out = decoder.decompress(data, step)
            except (OSError, ValueError) as error:
                raise Damage("bad_bz2", str(error), self.start, self.start + fed, given) from None
            given += len(out)
            if given > FREE and given > RATIO * fed:
                raise Damage("bomb", f"more than {RATIO} times its size", self.start, self.start + fed, given)
            if out:
                yield out
        self.end = self.start + fed - len(decoder.unused_data)

    def first(self) -> bytes:
        """Its first bytes, up to 1000; none where it is damaged from the start."""
        try:
            return next(self.unchecked(1000), b"")
        except Damage:
            return b""


def whole(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of all streams. rapidgzip decodes blocks side by side and checks each; of a damaged file it
    gives what comes before, and the standard library, from there on, says what is wrong and where."""
    given, size = 0, path.stat().st_size
    if sound(path):
        try:
            module: Any = import_module("rapidgzip")
            with module.IndexedBzip2File(str(path), parallelization=cores()) as file:
                while chunk := file.read(STEP):
                    given += len(chunk)
                    if given > FREE and given > RATIO * size:
                        raise Damage("bomb", f"more than {RATIO} times its size", 0, size, given)
                    yield chunk
            return
        except Damage:
            raise
        except Exception:  # not installed, or one of its many errors
            pass
    for chunk in in_turn(path, 0):
        if given < len(chunk):
            yield chunk[given:]
        given = max(given - len(chunk), 0)


def in_turn(path: Path, start: int) -> Iterator[bytes]:
    """The decompressed bytes of the stream at compressed byte `start` and of all behind it."""
    at = start
    with open(path, "rb") as handle:
        while True:
            handle.seek(at)
            head = handle.read(10)
            if not head and at > start:
                return
            if not BEGINS.match(head):
                raise Damage("bad_bz2", "no bz2 begins here", at, at, 0)
            stream = Stream(handle, at)
            yield from stream
            at = stream.end


def sound(path: Path) -> bool:
    """Whether the file ends as a bz2 stream does: with the end mark and a checksum, filled up to a whole byte."""
    with open(path, "rb") as handle:
        handle.seek(max(path.stat().st_size - 11, 0))
        tail = int.from_bytes(handle.read(11), "big")
    return any(tail >> (32 + bits) & ((1 << 48) - 1) == ENDS for bits in range(8))


def border(path: Path, start: int, end: int, wanted: Callable[[Path, int], bool] | None = None) -> int | None:
    """The first byte in [start, end) at which a stream begins that is `wanted`: that can be read, unless something else is."""
    wanted = wanted or readable
    place = start
    with open(path, "rb") as handle:
        while place < end:
            handle.seek(place)
            block = handle.read(READ)
            for found in BEGINS.finditer(block):
                at = place + found.start()
                if at >= end:
                    return None
                if at >= start and wanted(path, at):
                    return at
            if len(block) < READ:
                return None
            place += len(block) - 9
    return None


def readable(path: Path, at: int) -> bool:
    """Whether something comes out of the stream that begins at compressed byte `at`, or it is empty and whole."""
    with open(path, "rb") as handle:
        stream = Stream(handle, at)
        return bool(stream.first()) or stream.end >= 0


def intact(path: Path, at: int) -> bool:
    """Whether the stream that begins at compressed byte `at` can be read to its end, or for long."""
    with open(path, "rb") as handle:
        given = 0
        try:
            for chunk in Stream(handle, at):
                given += len(chunk)
                if given > LONG:
                    break
        except Damage:
            return False
    return True
