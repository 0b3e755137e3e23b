"""Packages read in place: wheels and other zip files, sdists and npm's tarballs, Debian's .deb.

Nothing is unpacked onto the disk and nothing in a package is run. Links, devices and folders are passed over; what the chosen
members hold is bounded.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from yanmo.core.errors import CorruptError
from yanmo.core.extras import needed
from yanmo.core.messages import text

MOST = 1 << 30  # bytes of all chosen members together
HEAD = 60  # bytes of a member's header in an ar archive
MAGIC = b"!<arch>\n"


def read(path: Path, patterns: Iterable[str]) -> dict[str, bytes]:
    """Name → bytes of the members whose names match one of `patterns`, sorted by name; CorruptError for what is no archive."""
    wanted = tuple(patterns)
    found: dict[str, bytes] = {}
    size = 0
    try:
        for name, content in _members(path, wanted):
            size += len(content)
            if size > MOST:
                raise _too_much(path)
            found[name] = content
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise CorruptError(str(path), text("a zip, tar or Debian archive"), str(error)) from None
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in found):
            raise CorruptError(str(path), text("a file like {pattern} in it", pattern=pattern), text("none"))
    return dict(sorted(found.items()))


def _members(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    with open(path, "rb") as handle:
        start = handle.read(len(MAGIC))
    if start == MAGIC:
        yield from _debian(path, wanted)
    elif start[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir() and _asked(info.filename, wanted):
                    _bounded(path, info.file_size)
                    yield info.filename, archive.read(info)
    else:
        with tarfile.open(path) as archive:
            yield from _tar(path, archive, wanted)


def _tar(path: Path, archive: tarfile.TarFile, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for info in archive:
        name = info.name.removeprefix("./")
        if info.isfile() and _asked(name, wanted):
            _bounded(path, info.size)
            handle = archive.extractfile(info)
            assert handle is not None
            yield name, handle.read()


def _debian(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The data part of a .deb: an `ar` archive (headers of 60 bytes, members at even places) with a data.tar.* in it."""
    with open(path, "rb") as handle:
        handle.seek(len(MAGIC))
        while len(header := handle.read(HEAD)) == HEAD:
            name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), header[48:58].strip()
            if not size.isdigit():
                break
            if not name.startswith("data.tar"):
                handle.seek(int(size) + int(size) % 2, 1)
                continue
            content: io.BufferedIOBase | io.BytesIO = io.BytesIO(handle.read(int(size)))
            if name.endswith(".zst"):
                content = needed("zstandard", "corpus", str(path)).ZstdDecompressor().stream_reader(content)
            with tarfile.open(fileobj=content, mode="r|" if name.endswith(".zst") else "r|*") as archive:
                yield from _tar(path, archive, wanted)
            return
    raise CorruptError(str(path), text("a Debian package with its data"), text("none"))


def _asked(name: str, wanted: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in wanted)


def _bounded(path: Path, size: int) -> None:
    if size > MOST:
        raise _too_much(path)


def _too_much(path: Path) -> CorruptError:
    return CorruptError(str(path), text("at most {size} bytes", size=MOST), text("more"))
