"""The compressed formats: how each is known by its first bytes, and one way to decompress a stream of it piece by piece."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from yanmo.core.extras import needed

XZ_MEMORY = 256 << 20  # what `xz -9` asks for is 65 MiB
ZSTD_WINDOW = 128 << 20


@dataclass(frozen=True)
class Codec:
    """A compressed format: `decoder()` gives an object with `decompress(data, max_length)`, `eof`, `needs_input` and
    `unused_data`, as those of bz2 and lzma have; `errors` is what it raises on damage."""

    name: str
    endings: tuple[str, ...]
    magic: re.Pattern[bytes]
    decoder: Callable[[], Any]
    errors: Callable[[], tuple[type[Exception], ...]]


class _Inflate:
    """zlib's decompressor of one gzip member, with the interface of the others."""

    def __init__(self) -> None:
        self._zlib, self._left, self.needs_input = zlib.decompressobj(31), b"", True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._zlib.decompress(self._left + data, max_length)
        self._left = self._zlib.unconsumed_tail
        self.needs_input = not self._left and len(out) < max_length
        return out

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data


class _Zstd:
    """One zstd frame. The library sets no limit to what comes out, so little is put in at a time."""

    FEED = 1 << 8  # four bytes can stand for a block of 128 KiB (RFC 8878, 3.1.1.2): 8 MiB at most come out at once

    def __init__(self) -> None:
        zstandard = needed("zstandard", "corpus", ".zst")
        self._frame = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
        self._in, self._at, self._out, self._given = b"", 0, b"", 0

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._in, self._at = self._in[self._at :] + data, 0
        pieces, size = [self._out[self._given : self._given + max_length]], 0
        self._given += len(pieces[0])
        size = len(pieces[0])
        while size < max_length and self._at < len(self._in) and not self._frame.eof:
            self._out = self._frame.decompress(self._in[self._at : self._at + self.FEED])
            self._at, self._given = min(self._at + self.FEED, len(self._in)), min(len(self._out), max_length - size)
            pieces.append(self._out[: self._given])
            size += self._given
        return b"".join(pieces)

    @property
    def eof(self) -> bool:
        return self._frame.eof and self._given == len(self._out)

    @property
    def needs_input(self) -> bool:
        return self._at == len(self._in) and self._given == len(self._out)

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data + self._in[self._at :]


@cache
def _igzip() -> Any:
    """The faster library where it is installed; what comes out is the same."""
    try:
        from isal import igzip_lib
    except ImportError:
        return None
    return igzip_lib


def _gzip_decoder() -> Any:
    library = _igzip()
    return _Inflate() if library is None else library.IgzipDecompressor(flag=library.DECOMP_GZIP)


def _gzip_errors() -> tuple[type[Exception], ...]:
    library = _igzip()
    return (zlib.error,) if library is None else (zlib.error, library.IsalError)


CODECS = (
    Codec("gzip", (".gz", ".tgz"), re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"), _gzip_decoder, _gzip_errors),
    Codec("bz2", (".bz2", ".tbz2", ".tbz"), re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor,
          lambda: (OSError, ValueError)),
    Codec("xz", (".xz", ".txz"), re.compile(rb"\xfd7zXZ\x00"),
          lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), lambda: (lzma.LZMAError,)),
    Codec("zstd", (".zst", ".tzst"), re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _Zstd,
          lambda: (needed("zstandard", "corpus", ".zst").ZstdError,)),
)  # fmt: skip
ENDINGS = (".gz", ".zst", ".bz2", ".xz")
MAGIC = 10  # bytes that say which format it is


def codec_of(name: str | Path) -> Codec | None:
    """The format that a file's name says it is compressed in."""
    lower = str(name).lower()
    return next((codec for codec in CODECS if lower.endswith(codec.endings)), None)


def with_compressed(endings: tuple[str, ...]) -> tuple[str, ...]:
    """The endings, and each of them with that of a compressed format behind it."""
    return (*endings, *(ending + packed for ending in endings for packed in ENDINGS))


def check(paths: list[Path], where: str) -> None:
    """RequestError where a library that one of the files takes is not installed."""
    if any((codec := codec_of(path)) is not None and codec.name == "zstd" for path in paths):
        needed("zstandard", "corpus", where)
