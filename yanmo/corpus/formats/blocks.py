"""A text cut into blocks of about 64 KiB: behind a blank line, else a line end, else (UTF-8) a sentence, a space, at the
least a whole character. The blocks cover each byte once, wherever the shards of the file begin and end."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import IO

from yanmo.corpus.formats.compressed import Damage
from yanmo.corpus.formats.encoding import Encoding

BLOCK_BYTES = 64 << 10
LONGEST = 4 << 20  # bytes without a line end that are looked through for one
UTF8_BORDERS = (b"\n\n", b"\n\r\n", b"\n", "。".encode(), "！".encode(), "？".encode(), b". ", b" ")


class Coding:
    """An encoding as it shows in bytes: the byte order mark in front, the width of a unit, the line end."""

    def __init__(self, found: Encoding):
        self.name, self.mark = found.name, found.mark
        self.line_end = "\n".encode(self.name)
        self.unit = len(self.line_end)

    def blocks(self, read: Callable[[int], bytes], start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
        """(first byte, bytes) of each block of [start, end), which begins and ends with a line; `end` None: of all there is.

        `read` gives the bytes from `start` on. Of a damaged stream, the complete lines come before `Damage`."""
        held, damage = b"", None
        while damage is None:
            wanted = BLOCK_BYTES * 5 // 4 if end is None else min(BLOCK_BYTES * 5 // 4, end - start)
            held += read(wanted - len(held))
            last = end is not None and start + len(held) >= end
            if len(held) < wanted:
                last = True
                try:
                    read(1)
                except Damage as found:
                    damage, held = found, held[: max(self._find(held, self.line_end, last=True), 0)]
            if not held:
                break
            data, rest = (held, b"") if last else self._cut(held, read, None if end is None else end - start - len(held))
            yield start, data
            start, held = start + len(data), rest
        if damage is not None:
            raise damage

    def border(self, handle: IO[bytes], place: int, size: int) -> int:
        """The first byte behind the first line end at or after `place` - 1 unit: where a line begins."""
        if place <= self.mark:
            return self.mark
        position = self.mark + (place - self.mark) // self.unit * self.unit - self.unit
        while position < size:
            handle.seek(position)
            chunk = handle.read(BLOCK_BYTES)
            found = self._find(chunk, self.line_end)
            if found >= 0:
                return position + found
            position += len(chunk)
            if self.name == "utf-8" and position - place > LONGEST:  # all one line: a whole character has to do
                handle.seek(place)
                return place + next((i for i, byte in enumerate(handle.read(4)) if byte & 0xC0 != 0x80), 0)
        return size

    def _cut(self, held: bytes, read: Callable[[int], bytes], left: int | None) -> tuple[bytes, bytes]:
        """`held` up to the best border in it, and the rest; where there is none that is safe, on to the next one behind it."""
        for border in UTF8_BORDERS if self.name == "utf-8" else (self.line_end,):
            found = self._find(held[:BLOCK_BYTES], border, last=True)
            if found >= BLOCK_BYTES // 2:
                return held[:found], held[found:]
        if self.name == "utf-8":
            cut = BLOCK_BYTES
            while cut > BLOCK_BYTES - 4 and held[cut] & 0xC0 == 0x80:  # a byte inside a character
                cut -= 1
            return held[:cut], held[cut:]
        found = self._find(held, self.line_end, last=True)
        if found > 0:
            return held[:found], held[found:]
        while left is None or left > 0:
            if len(held) >= LONGEST:
                cut = self._whole_characters(held)
                return held[:cut], held[cut:]
            more = read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
            if not more:
                break
            found = self._find(more, self.line_end)
            if found > 0:
                return held + more[:found], more[found:]
            held, left = held + more, None if left is None else left - len(more)
        return held, b""

    def _whole_characters(self, data: bytes) -> int:
        """How many of the bytes are whole characters (all of them, where they are not valid)."""
        decoder = codecs.getincrementaldecoder(self.name)()
        try:
            decoder.decode(data)
        except UnicodeDecodeError:
            return len(data)
        return len(data) - len(decoder.getstate()[0])

    def _find(self, data: bytes, border: bytes, *, last: bool = False) -> int:
        """The place behind the first (or last) border in `data` that begins at a whole unit; -1 where there is none."""
        at = data.rfind(border) if last else data.find(border)
        while at >= 0 and at % self.unit:
            at = data.rfind(border, 0, at + len(border) - 1) if last else data.find(border, at + 1)
        return at + len(border) if at >= 0 else -1
