"""Records of a web archive (WARC 1.0 and 1.1, ISO 28500), and the HTTP responses in them, as the bytes that they are.

A record is a version line, named fields, an empty line, a block of `Content-Length` bytes, two line ends. Records follow
each other in a plain file, or in the member of a compressed one, mostly one in each.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEAD = b"WARC/"
PIECE = 1 << 20  # bytes read at once
HEAD_BYTES = 64 << 10  # of a record's or a response's named fields, at most
VERSION = re.compile(rb"WARC/[01]\.\d")
LINE = re.compile(rb"[\r\n](?=WARC/[01]\.\d)")
STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})")

class Fields:
    """The named fields of a record or a response, looked up as they are asked for: most are not."""

    __slots__ = ("folded", "low", "raw")

    def __init__(self, raw: bytes):
        self.raw, self.low = raw, raw.lower()
        self.folded = b"\n " in raw or b"\n\t" in raw  # a field goes on in the next line

    def get(self, name: bytes) -> bytes:
        """The value of the first field of that name (in lower case); b"" where there is none."""
        at = self.low.find(b"\n" + name + b":")
        if at < 0:
            return b""
        start = at + len(name) + 2
        end = self.raw.find(b"\n", start)
        if self.folded and end >= 0 and self.raw[end + 1 : end + 2] in (b" ", b"\t"):
            while end >= 0 and self.raw[end + 1 : end + 2] in (b" ", b"\t"):
                end = self.raw.find(b"\n", end + 1)
            return b" ".join(self.raw[start : end if end >= 0 else None].split())
        return self.raw[start : end if end >= 0 else None].strip()


class BadRecord(Exception):
    """What begins at `place` is no record: `reason` is 'bad_record' or 'truncated_record'."""

    def __init__(self, place: int, reason: str, value: str):
        super().__init__(place, reason, value)
        self.place, self.reason, self.value = place, reason, value


@dataclass(slots=True)
class Record:
    """A record whose block is bytes [start, end) of the stream; `block` is None where it is larger than allowed."""

    kind: bytes
    fields: Fields
    start: int
    end: int
    block: bytes | None


@dataclass(slots=True)
class Response:
    status: int | None
    fields: Fields
    start: int  # of the body within the record's block


class Window:
    """A stream of which as much is held as is asked for; `at` is the reader's place in `data`, `base` that of `data`."""

    def __init__(self, read: Callable[[int], bytes], base: int = 0):
        self.read, self.base, self.data, self.at, self.ended = read, base, b"", 0, False

    @property
    def place(self) -> int:
        return self.base + self.at

    def hold(self, size: int) -> int:
        """Has at least `size` bytes from here on in `data`, where the stream has so many; how many there are."""
        held = len(self.data) - self.at
        if held < size and not self.ended:
            pieces = [self.data[self.at :]] if held else []
            self.base, self.at = self.base + self.at, 0
            while held < size:
                more = self.read(max(size - held, PIECE))
                if not more:
                    self.ended = True
                    break
                pieces.append(more)
                held += len(more)
            self.data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return held

    def skip(self, size: int) -> int:
        """Goes on by `size` bytes without holding them; how many there were."""
        gone = min(size, len(self.data) - self.at)
        self.at += gone
        while gone < size and not self.ended:
            self.hold(1)
            step = min(size - gone, len(self.data) - self.at)
            self.at, gone = self.at + step, gone + step
        return gone


def records(window: Window, limit: int, end: float = float("inf")) -> Iterator[Record]:
    """The records that begin before `end`, from the window's place on; their blocks of up to `limit` bytes. Raises
    BadRecord at the first that is none, also at `end`, and what `read` raises.

    A record is given when what is behind it has been looked at: another one, or the stream's end and so its checksum."""
    while _behind_lines(window):
        place = window.place
        fields = _head(window, place)
        length, kind = int(fields.get(b"content-length")), fields.get(b"warc-type").lower()
        if place >= end:
            return
        start, block = window.place, None
        if length > limit:
            there = window.skip(length)
        else:
            there = min(window.hold(length), length)
            block = window.data[window.at : window.at + length]
            window.at += there
        if there < length:
            raise BadRecord(place, "truncated_record", f"{there} of {length} bytes")
        stop = window.place
        if _behind_lines(window) and (window.place == stop or not _version(window)):
            raise BadRecord(place, "bad_record", f"no record behind its {length} bytes")
        yield Record(kind, fields, start, start + length, block)


def alone(data: bytes, limit: int) -> Record | None:
    """The record that `data`, a whole stream, consists of; None where it is anything else than one sound record."""
    end = data.find(b"\r\n\r\n", 0, HEAD_BYTES)
    if end < 0 or VERSION.match(data) is None:
        return None
    fields = Fields(data[:end])
    length, kind = fields.get(b"content-length"), fields.get(b"warc-type")
    if not kind or not length.isdigit():
        return None
    start, stop = end + 4, end + 4 + int(length)
    if stop - start > limit or data[stop:] != b"\r\n\r\n":
        return None
    return Record(kind.lower(), fields, start, stop, data[start:stop])


def begins(window: Window) -> bool:
    """Whether there is a record at the window's place."""
    try:
        _head(window, window.place)
    except BadRecord:
        return False
    return True


def resume(window: Window) -> bool:
    """Goes on to the next line that begins a record; False where there is none."""
    while window.hold(PIECE):
        match = LINE.search(window.data, window.at)
        if match is not None:
            window.at = match.end()
            return True
        if window.ended:
            return False
        window.at = max(len(window.data) - 2 * len(HEAD), window.at + 1)
    return False


def _version(window: Window) -> bool:
    window.hold(2 * len(HEAD))
    return VERSION.match(window.data, window.at) is not None


def _behind_lines(window: Window) -> bool:
    """Goes on behind empty lines; whether there is anything."""
    while window.hold(1):
        if window.data[window.at] not in b"\r\n":
            return True
        window.at += 1
    return False


def _head(window: Window, place: int) -> Fields:
    """The named fields at the window's place, which is then behind them: WARC-Type and Content-Length among them."""
    wanted = len(HEAD)
    while True:
        held = window.hold(wanted)
        if not _version(window):
            raise BadRecord(place, "bad_record", "no version line")
        end, size = window.data.find(b"\r\n\r\n", window.at), 4
        if end < 0:
            end, size = window.data.find(b"\n\n", window.at), 2  # as some tools write
        if end >= 0 and end - window.at <= HEAD_BYTES:
            found = Fields(window.data[window.at : end])
            if not found.get(b"warc-type") or not found.get(b"content-length").isdigit():
                raise BadRecord(place, "bad_record", "no WARC-Type and Content-Length")
            window.at = end + size
            return found
        if held > HEAD_BYTES:
            raise BadRecord(place, "bad_record", "no end of the named fields")
        if held < wanted:
            raise BadRecord(place, "truncated_record", "it ends within the named fields")
        wanted = held + 1


def response(block: bytes) -> Response | None:
    """The HTTP response in a record's block; None where it is none."""
    match = STATUS.match(block)
    if match is None:
        return None
    end, size = block.find(b"\r\n\r\n", 0, HEAD_BYTES), 4
    if end < 0:
        end, size = block.find(b"\n\n", 0, HEAD_BYTES), 2
    if end < 0:
        end, size = len(block), 0
    return Response(int(match[1]), Fields(block[:end]), end + size)


def body(block: bytes, found: Response, limit: int) -> bytes | str:
    """The response's body with its transfer and content codings undone; a str says why that cannot be.

    Many crawlers undo them and leave the fields that announce them, so a body that is not so coded is taken as it is."""
    data = block[found.start :]
    if b"chunked" in found.fields.get(b"transfer-encoding").lower():
        data = _joined(data)
    coding = found.fields.get(b"content-encoding").decode("latin-1").strip().lower()
    try:
        match coding:
            case "gzip" | "x-gzip" if data[:2] == b"\x1f\x8b":
                data = _inflated(data, 31, limit)
            case "deflate" if data.lstrip()[:1] != b"<":
                try:
                    data = _inflated(data, 15, limit)
                except zlib.error:  # without zlib's header, as some servers send it
                    data = _inflated(data, -15, limit)
            case "br" if data.lstrip()[:1] != b"<":
                from fastwarc.stream_io import BrotliReader

                data = _read(BrotliReader(io.BytesIO(data)), limit)
            case "zstd" if data[:4] == b"\x28\xb5\x2f\xfd":
                from fastwarc.stream_io import ZstdReader

                data = _read(ZstdReader(io.BytesIO(data)), limit)
    except (zlib.error, OSError, ValueError, EOFError) as error:
        return f"{coding}: {error}"
    return data


def _read(reader: object, limit: int) -> bytes:
    pieces, size = list[bytes](), 0
    while size <= limit and (more := reader.read(PIECE)):  # type: ignore[attr-defined]
        pieces.append(more)
        size += len(more)
    return b"".join(pieces)


def _inflated(data: bytes, bits: int, limit: int) -> bytes:
    """What `data` unpacks to, at most a little more than `limit` bytes; what is there of a body that was cut off."""
    inflate = zlib.decompressobj(bits)
    return inflate.decompress(data, limit + 1)


def _joined(data: bytes) -> bytes:
    """The chunks of a chunked body; `data` itself where it is not one."""
    pieces, place = list[bytes](), 0
    while True:
        end = data.find(b"\r\n", place, place + 100)
        try:
            size = int(data[place:end].partition(b";")[0], 16) if end >= 0 else -1
        except ValueError:
            size = -1
        if size < 0:
            return b"".join(pieces) if pieces else data
        if size == 0:
            return b"".join(pieces)
        pieces.append(data[end + 2 : end + 2 + size])
        place = end + 2 + size + 2
