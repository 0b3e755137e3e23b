"""Files and members opened as the bytes they stand for, so that an origin always leads back to its text.

    opened(path, None)              the file as it lies on the disk
    opened(path, "a.jsonl")         the whole of a.jsonl.gz, .bz2, .xz or .zst, decompressed, all its streams in turn
    opened(path, "@1234")           the same from the gzip member (bz2 stream, zstd frame) at compressed byte 1234 on
    opened(path, "folder/a.txt")    a member of a tar (also a compressed one) or zip; one that is compressed itself too
    opened(path, "b.tar.xz!a.txt")  a member of a tar inside a tar

A stream that was cut off gives all that came out of it and then raises `Damage`, with the place. One that is damaged does
too, but for the last HELD bytes: a decompressor often goes on over damage, putting out what nobody wrote, until a check
fails. So of a stream no longer than that, nothing is given before its checksum was found right. A file of several streams
can be read on behind the damaged one (`resume`). No more than STEP bytes are decompressed at a time, and a stream that
grows out of all proportion is given up: a bomb costs neither memory nor time.
"""

from __future__ import annotations

import io
import re
from collections import deque
from pathlib import Path
from typing import IO, Any, cast

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text
from yanmo.corpus.formats import members
from yanmo.corpus.formats.compression import MAGIC, Codec, codec_of

CHUNK = 64 << 10  # compressed bytes read at a time
STEP = 32 << 10  # bytes decompressed at a time
HELD = 1 << 20  # bytes kept back until as many more came out, or the end of their stream: more than a block of bz2
RATIO = 250  # times its size that a stream may grow (text: 3 to 10; the same line again and again: 100), once it gave
FREE = 64 << 20  # this many bytes
LOOKED_AT = 1 << 20  # compressed bytes that are searched at a time for the next stream


class Damage(Exception):
    """A stream that ends too early or stops making sense.

    `reason` is 'truncated_FORMAT', 'bad_FORMAT' or 'bomb'; `stream` the compressed byte at which the damaged gzip member
    (bz2 stream …) begins, `near` the last compressed byte that was looked at; `position` how many bytes of the whole were
    given before, `unchecked` of them from the damaged stream."""

    def __init__(self, reason: str, why: str, stream: int, near: int, position: int, source: object = None, unchecked: int = 0):
        super().__init__(reason, why)
        self.reason, self.why, self.stream, self.near, self.position = reason, why, stream, near, position
        self.source, self.unchecked = source, unchecked

    def value(self, following: str | None = None) -> str:
        """What a record says of it; `following` is the member at which reading goes on."""
        given = f"; {self.unchecked} bytes of it were given before that was known" if self.unchecked else ""
        on = f"; reading goes on at {following[1:]}" if following else ""
        return f"{self.why}, in the stream at compressed byte {self.stream}, before byte {self.near}{given}{on}"


# ------------------------------------------------------------------------------------------------ reading


class Stream(io.BufferedReader):
    """Bytes from a raw reader that may be damaged: what there is comes first, the next call raises."""

    def read(self, size: int | None = -1, /) -> bytes:
        return self._checked(super().read(size), size)

    def read1(self, size: int = -1, /) -> bytes:
        return self._checked(super().read1(size), size)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._checked(super().readline(size), size)

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        if not count and len(buffer):
            self._checked(b"", 1)
        return count

    def _checked(self, data: bytes, size: int | None) -> bytes:
        if not data and size != 0:
            damage = cast(Any, self.raw).damage
            if damage is not None:
                raise damage
        return data


class _Forward(io.RawIOBase):
    """A raw reader that goes forward; going back starts again. Subclasses give `_next` and `_restart`."""

    damage: Damage | None = None

    def __init__(self) -> None:
        self._given, self._rest = 0, b""

    def _next(self, wanted: int) -> bytes:
        """Some more bytes; none at the end, or where `damage` was set."""
        raise NotImplementedError

    def _restart(self) -> None:
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._given

    def readinto(self, buffer: Any, /) -> int:
        data = self._rest or self._next(len(buffer))
        count = min(len(data), len(buffer))
        buffer[:count] = data if count == len(data) else data[:count]
        self._rest = data[count:]
        self._given += count
        return count

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 1:
            offset += self._given
        elif whence == 2:
            raise io.UnsupportedOperation("the end of a compressed stream is not known before it was read")
        if offset < self._given:
            self._restart()
            self._given, self._rest, self.damage = 0, b"", None
        while self._given < offset:
            data = self._rest or self._next(offset - self._given)
            if not data:
                break
            taken = min(len(data), offset - self._given)
            self._rest = data[taken:]
            self._given += taken
        return self._given


class _Decoded(_Forward):
    """The streams of a compressed file from compressed byte `first` on, one behind the other."""

    def __init__(self, handle: IO[bytes], codec: Codec, first: int = 0, ratio: float = RATIO):
        super().__init__()
        self._handle, self._codec, self._first, self._ratio = handle, codec, first, ratio
        self._errors = codec.errors()
        self._restart()

    def _restart(self) -> None:
        self._handle.seek(self._first)
        self.stream = self._fed = self._first
        self._produced = self._released = self._checked = self.finished = 0
        self._input, self._decoder = b"", None
        self._held: deque[bytes] = deque()

    def _read(self) -> bytes:
        try:
            data = self._handle.read(CHUNK)
        except Damage as damage:  # of what this lies in
            self.damage = damage
            return b""
        self._fed += len(data)
        return data

    def _next(self, wanted: int) -> bytes:
        while self.damage is None:
            if self._decoder is None:
                if self._held:
                    break
                if not self._begin():
                    break
            self._decode()
            if self._produced - self._released > HELD:
                break
        if not self._held:
            return b""
        data = self._held.popleft()
        self._released += len(data)
        return data

    def _decode(self) -> None:
        """One step of the stream at hand: some bytes more to hold, its end, or damage."""
        decoder: Any = self._decoder
        data = b""
        if decoder.needs_input:
            data, self._input = self._input or self._read(), b""
            if not data:
                if self.damage is None:
                    self._damaged(f"truncated_{self._codec.name}", "it ends before its end")
                return
        try:
            out = decoder.decompress(data, STEP)
        except self._errors as error:
            self._damaged(f"bad_{self._codec.name}", " ".join(str(error).split()) or type(error).__name__)
            return
        if out:
            self._held.append(out)
            self._produced += len(out)
        if self._produced > FREE and self._produced > self._ratio * max(self._fed - self._first, 1):
            self._damaged("bomb", f"more than {self._ratio:g} times its size")
        elif decoder.eof:
            self._input, self._decoder = decoder.unused_data, None
            self._checked = self._produced
            self.finished += 1

    def _begin(self) -> bool:
        """Gets ready for the next stream; False at the end of the file."""
        while True:
            if self.finished:
                self._input = self._input.lstrip(b"\0")  # padding between streams
            if len(self._input) >= MAGIC:
                break
            more = self._read()
            self._input += more
            if not more:
                break
        if self.damage is not None:
            return False
        if not self._input:
            if not self.finished:
                self._damaged(f"truncated_{self._codec.name}", "it is empty")
            return False
        self.stream = self._fed - len(self._input)
        if not self._codec.magic.match(self._input):
            name = self._codec.name
            self._damaged(f"bad_{name}", f"no {name} begins here")
            return False
        self._decoder = self._codec.decoder()
        return True

    def _damaged(self, reason: str, why: str) -> None:
        if not reason.startswith("truncated"):
            self._held.clear()
            self._produced = self._released
        self.damage = Damage(reason, why, self.stream, self._fed, self._produced, self, self._produced - self._checked)

    def close(self) -> None:
        if not self.closed:
            self._handle.close()
        super().close()


class _Slice(_Forward):
    """`size` bytes of a handle, from where it stands; with `owned`, closing this closes it."""

    def __init__(self, handle: IO[bytes], size: int, *, owned: bool = False):
        super().__init__()
        self._handle, self._size, self._owned, self._taken = handle, size, owned, 0
        self._begin = handle.tell()

    def _restart(self) -> None:
        self._handle.seek(self._begin)
        self._taken = 0

    def _next(self, wanted: int) -> bytes:
        left = self._size - self._taken
        if left <= 0 or self.damage is not None:
            return b""
        try:
            data = self._handle.read(min(wanted, left))
        except Damage as damage:  # of what this lies in
            self.damage = damage
            return b""
        except members.UNZIPPING as error:
            self._damaged("bad_archive", " ".join(str(error).split()))
            return b""
        self._taken += len(data)
        if not data:
            self._damaged("truncated_archive", "the archive ends inside it")
        return data

    def _damaged(self, reason: str, why: str) -> None:
        self.damage = Damage(reason, why, self._begin, self._begin + self._taken, self._given, self)

    def close(self) -> None:
        if self._owned and not self.closed:
            self._handle.close()
        super().close()


def decoded(handle: IO[bytes], codec: Codec, first: int = 0, ratio: float = RATIO) -> Stream:
    """The decompressed bytes of a handle, which closes with it."""
    return Stream(_Decoded(handle, codec, first, ratio), CHUNK)


def part(handle: IO[bytes], size: int, *, owned: bool = False) -> Stream:
    """The next `size` bytes of a handle; `Damage` where it ends before."""
    return Stream(_Slice(handle, size, owned=owned), CHUNK)


def opened(path: Path, member: str | None = None) -> IO[bytes]:
    """The bytes that `member` of the file stands for (see above); seekable, forward at no cost but reading."""
    if member is None:
        return open(path, "rb")
    codec = codec_of(path)
    stream = re.fullmatch(r"@(\d+)", member)
    if codec is not None and (stream or member == path.stem):
        return decoded(open(path, "rb"), codec, int(stream[1]) if stream else 0)
    if path.suffix.lower() == ".zip":
        zipped, size = members.zip_member(path, member)
        return _unpacked(part(zipped, size, owned=True), member)
    file: IO[bytes] = open(path, "rb")  # noqa: SIM115 (what is returned closes it)
    handle = file if codec is None else decoded(file, codec)
    try:
        return _tar_member(handle, path, member)
    except BaseException:
        handle.close()
        raise


def _tar_member(handle: IO[bytes], path: Path, name: str) -> IO[bytes]:
    outer = [name[: at.start()] for at in re.finditer("!", name)]
    for entry in members.tar_members(handle):
        if entry.name == name:
            return _unpacked(part(handle, entry.size, owned=True), name)
        if entry.name in outer:
            inner = _unpacked(part(handle, entry.size, owned=True), entry.name)
            return _tar_member(inner, path, name[len(entry.name) + 1 :])
    raise CorruptError(str(path), text("a member '{name}'", name=name), text("none"))


def _unpacked(handle: IO[bytes], name: str) -> IO[bytes]:
    codec = codec_of(name)
    return handle if codec is None else decoded(handle, codec)


# ------------------------------------------------------------------------------------------------ behind damage


def resume(path: Path, damage: Damage) -> str | None:
    """The member ('@N') at which the next sound stream behind a damaged one begins; None where there is none.

    Of a file that is one stream, and of a bomb, there is nothing more to read."""
    codec = codec_of(path)
    if codec is None or damage.reason == "bomb" or not isinstance(damage.source, _Decoded):
        return None
    with open(path, "rb") as handle:
        place = damage.stream + 1
        while True:
            handle.seek(place)
            block = handle.read(LOOKED_AT)
            for found in codec.magic.finditer(block):
                if _sound(path, codec, place + found.start()):
                    return f"@{place + found.start()}"
            if len(block) < LOOKED_AT:
                return None
            place += len(block) - MAGIC  # a beginning across two blocks; one seen twice is merely tried twice


def _sound(path: Path, codec: Codec, first: int) -> bool:
    """Whether a stream really begins there: its checksum is right, or it is cut off or longer than HELD, and bytes come out."""
    with open(path, "rb") as handle:
        raw, given = _Decoded(handle, codec, first), 0
        while given < STEP and not raw.finished and (out := raw._next(STEP)):
            given += len(out)
        return raw.finished > 0 or given >= STEP
