"""The members of tar and zip archives, found by their headers. Nothing is ever extracted: a name is a name, not a path.

A tar is read block by block, forward only, so that a compressed one can be too. A header that makes no sense gives a
`Gap` up to the next one that does, instead of an early and silent end.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import xxhash

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text

BLOCK = 512
HIGH, OCTAL = re.compile(rb"[\x80-\xff]"), re.compile(rb"[0-7]+")
PAX = re.compile(rb"(\d{1,7}) ([^=]+)=")
LONG = 1 << 20  # bytes of an extended header that are believed
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
NOT_FILES = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
UNZIPPING = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)  # a zip's damage


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a tar: its header begins at byte `start`, its `size` bytes at `data`. The second 'a.txt' is 'a#2.txt'."""

    name: str
    start: int
    data: int
    size: int

    @property
    def end(self) -> int:
        return self.data + -(-self.size // BLOCK) * BLOCK


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes [start, end) of a tar in which no header could be read, or `truncated`: where it ends without an end."""

    start: int
    end: int
    why: str
    truncated: bool = False


def shown(name: str) -> str:
    """A name as a record holds it: bytes that are not UTF-8 are escaped."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Names:
    """Tells the second file of a name from the first, and so on."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.again: dict[str, int] = {}

    def of(self, name: str) -> str:
        name = shown(name)
        key = xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))
        if key not in self._seen:
            self._seen.add(key)
            return name
        self.again[name] = number = self.again.get(name, 1) + 1
        dot = name.find(".", name.rfind("/") + 2)
        return f"{name}#{number}" if dot < 0 else f"{name[:dot]}#{number}{name[dot:]}"


def tar_members(handle: IO[bytes]) -> Iterator[Entry]:
    """The files of a tar; the handle stands at the bytes of each as it is given."""
    return (entry for entry in tar_entries(handle) if isinstance(entry, Entry))


def tar_entries(handle: IO[bytes], first: int = 0, end: int | None = None, names: Names | None = None) -> Iterator[Entry | Gap]:
    """The files, and the gaps, whose headers begin in [first, end), `end` None being that of the tar; the handle stands at
    the bytes of each file as it is given, and may then be read from, forward. A tar ends in blocks of zeros."""
    names = names or Names()
    place = begin = first
    extended: dict[str, str] = {}
    gap: int | None = None
    ended = False
    while end is None or begin < end:
        if handle.tell() != place:
            handle.seek(place)
        block = handle.read(BLOCK)
        if len(block) < BLOCK:
            handle.read(1)  # which raises where this is no end but damage
        found = _header(block)
        if found is None:
            empty = not block.strip(b"\0")
            last = len(block) < BLOCK
            if gap is not None and (empty or last):
                yield Gap(gap, place + len(block) * last, "no header")
                gap = None
            elif last and not (ended and empty):
                yield Gap(place, place + len(block), "no end of the archive", truncated=True)
            if last:
                return
            ended = empty
            if not empty and gap is None:
                gap = place
            place += BLOCK
            begin, extended = place, {}
            continue
        if gap is not None:
            yield Gap(gap, place, "no header")
            gap = None
        name, size, kind = found
        data, ended = place + BLOCK, False
        place = data if kind in NOT_FILES else data + -(-size // BLOCK) * BLOCK
        if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            content = handle.read(min(size, LONG))
            if kind == tarfile.GNUTYPE_LONGNAME:
                extended["path"] = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            else:
                extended |= _pax(content)
            continue
        if kind in REGULAR:
            size = int(extended["size"]) if extended.get("size", "").isdecimal() else size
            entry = Entry(names.of(extended.get("path", name)), begin, data, size)
            place = entry.end
            yield entry
        elif kind not in (*NOT_FILES, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            yield Gap(begin, place, f"a member of type {kind!r}")
        if kind != tarfile.GNUTYPE_LONGLINK:
            extended = {}
            begin = place
    if gap is not None:
        yield Gap(gap, place, "no header")


def _header(block: bytes) -> tuple[str, int, bytes] | None:
    """(name, size, type) that a block says as a header (POSIX ustar, GNU, the old one); None where it is none.

    Several times as fast as `tarfile`, which decodes every field: small files are most of what archives hold."""
    if len(block) < BLOCK:
        return None
    said = _number(block[148:156])
    total = sum(block) - sum(block[148:156]) + 8 * 0x20  # the sum is over the header with blanks in its own place
    if said is None or (said != total and said != total - 256 * len(HIGH.findall(block[:148] + block[156:]))):
        return None
    size = _number(block[124:136])
    if size is None or not 0 <= size < 1 << 60:
        return None
    name, kind = block[:100].partition(b"\0")[0], block[156:157]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    if kind == tarfile.AREGTYPE and name.endswith(b"/"):
        kind = tarfile.DIRTYPE
    return name.decode("utf-8", "surrogateescape"), size, kind


def _number(field: bytes) -> int | None:
    """A number of a header: octal digits, or, with the first bit set, the bytes themselves."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    digits = field.partition(b"\0")[0].strip()
    return int(digits, 8) if OCTAL.fullmatch(digits) else None if digits else 0


def _pax(content: bytes) -> dict[str, str]:
    """'path' and 'size' of an extended header: lines of 'LENGTH key=value'."""
    found: dict[str, str] = {}
    place = 0
    while match := PAX.match(content, place):
        length = int(match[1])
        value = content[match.end() : place + length - 1]
        if match[2] in (b"path", b"size"):
            found[match[2].decode()] = value.decode("utf-8", "surrogateescape")
        place += max(length, 1)
    return found


def zip_entries(path: Path) -> list[tuple[str, zipfile.ZipInfo]]:
    """(name as a record holds it, what the zip says of it) of each file, in the order in which they lie.

    zipfile.BadZipFile where the file is none."""
    with zipfile.ZipFile(path) as archive:
        found = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.header_offset)
    names = Names()
    return [(names.of(info.filename), info) for info in found]


def zip_member(path: Path, name: str) -> tuple[IO[bytes], int]:
    """The bytes of a member of a zip, and how many there should be. CorruptError where there is none of that name."""
    found = dict(zip_entries(path)).get(name)
    if found is None:
        raise CorruptError(str(path), text("a member '{name}'", name=name), text("none"))
    with zipfile.ZipFile(path) as archive:  # the file stays open until the member is closed too
        return archive.open(found), found.file_size
