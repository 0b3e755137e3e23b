"""MediaWiki XML dumps as bytes: how a file is cut into shards, its streams, its pages with their places, what it says of itself.

A dump's text is escaped, so `<page>` and `</page>` stand in it only as tags: pages are found by looking for these bytes,
in any piece of a file, and each is parsed on its own, bounded in size, with no document type and no entities.

A multistream dump is bz2 streams one behind the other: the first holds the head of the file, each other one whole pages.
It is cut where a stream begins: at the places that its index lists, or that a look at the bytes finds; either is tried by
decompressing, so that a wrong index costs nothing. Any other .bz2 (one stream; streams that pages run across) is read as
a whole, with all cores where rapidgzip is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

from yanmo.corpus.formats.bz2_streams import BEGINS, READ, Stream, border, in_turn, intact, whole
from yanmo.corpus.formats.compressed import Damage, opened, resume

CHUNK = 1 << 20  # bytes read at a time
HEAD = 4 << 20  # bytes in which a dump's head ends
FIRST = 16 << 20  # decompressed bytes within which the first stream of a multistream dump ends
OPEN, CLOSE = b"<page>", b"</page>"
TAG = re.compile(rb"</?page>")


class Piece(NamedTuple):
    """A page's bytes [start, end) of the decompressed member; or bytes that are none, and the reason."""

    start: int
    end: int
    data: bytes
    reason: str | None = None
    value: float | str | None = None
    member: str | None = None
    damage: Damage | None = None


# ------------------------------------------------------------------------------------------------ pages


def pages(chunks: Iterator[bytes], first: int, end: int | None, limit: int) -> Iterator[Piece]:
    """The pages that begin in [first, end) of `chunks`, whose first byte is number `first`; each held once, none above
    `limit` bytes. A page that the next one's beginning ends, or nothing, is a piece with a reason; so is the `Damage` that
    the chunks raise."""
    data, offset = b"", first  # offset: the number of data's first byte
    page, searched = -1, 0  # where in data the page begins, -1 between pages; how far data was searched
    long: Piece | None = None  # the beginning of a page above the limit, which is not held
    while True:
        found = TAG.search(data, searched)
        if found is not None:
            searched = found.end()
            if found[0] == OPEN:
                if page >= 0:
                    yield _ended(data, offset, page, found.start(), long, "page_without_end")
                page, long = found.start(), None
                if end is not None and offset + page >= end:
                    return
            else:  # or the end of a page that began before `first`
                if page >= 0:
                    reason = "page_too_long" if searched - page > limit else None
                    yield _ended(data, offset, page, searched, long, reason)
                page, long = -1, None
            continue
        searched = max(len(data) - len(CLOSE) + 1, searched)  # a tag may be cut in two
        if page >= 0 and long is None and len(data) - page > limit:
            long = _ended(data, offset, page, len(data), None, "page_too_long")
        cut = page if page >= 0 and long is None else searched
        if page < 0 and end is not None and offset + cut >= end:
            return
        try:
            chunk = next(chunks, None)
        except Damage as damage:
            start = page if page >= 0 else len(data)
            piece = long or Piece(offset + start, 0, data[start : start + READ])
            yield piece._replace(end=offset + len(data), reason=damage.reason, value=damage.value(), damage=damage)
            return
        if chunk is None:
            if page >= 0:
                yield _ended(data, offset, page, len(data), long, "page_without_end")
            return
        offset, data, searched = offset + cut, data[cut:] + chunk, searched - cut
        page = min(page, 0)


def _ended(data: bytes, offset: int, page: int, stop: int, long: Piece | None, reason: str | None) -> Piece:
    """The piece of data[page:stop]: whole where nothing is wrong with it, else its beginning and its size."""
    if long is not None:
        return long._replace(end=offset + stop, value=offset + stop - long.start)
    if reason is None:
        return Piece(offset + page, offset + stop, data[page:stop])
    return Piece(offset + page, offset + stop, data[page : min(stop, page + READ)], reason, stop - page)


# ------------------------------------------------------------------------------------------------ bytes


def plain(path: Path, start: int) -> Iterator[bytes]:
    """The file's bytes from `start` on."""
    with open(path, "rb") as handle:
        handle.seek(start)
        while chunk := handle.read(CHUNK):
            yield chunk


def stream_pages(path: Path, start: int, end: int, limit: int) -> Iterator[Piece]:
    """The pages of the streams that begin in [start, end), each with its stream '@N' as member. Behind a damaged stream,
    or bytes that are none, reading goes on with the next one that can be read."""
    with open(path, "rb") as handle:
        at: int | None = start
        while at is not None and at < end:
            handle.seek(at)
            head = handle.read(10)
            if not head:
                return
            if not BEGINS.match(head):
                following = border(path, at + 1, end)
                size = (following or end) - at
                yield Piece(0, 0, head, "bad_bz2", f"{size} bytes at {at} are no bz2 stream", f"@{at}")
                at = following
                continue
            stream = Stream(handle, at)
            for piece in pages(iter(stream), 0, None, limit):
                yield piece._replace(member=f"@{at}")
            at = stream.end if stream.end >= 0 else border(path, at + 4, end)


def whole_pages(path: Path, limit: int) -> Iterator[Piece]:
    """The pages of a .bz2 or .gz read as one. Behind damage, where the file has more streams, reading goes on with the next
    one that can be read, whose place is then the member."""
    zipped = path.suffix.lower() == ".gz"
    size = path.stat().st_size
    chunks = whole_gzip(path, path.stem) if zipped else whole(path)
    member: str | None = None
    while True:
        damage: Damage | None = None
        for piece in pages(chunks, 0, None, limit):
            damage = piece.damage
            yield piece._replace(member=member)
        if damage is None or damage.reason == "bomb":
            return
        following = None if zipped else border(path, damage.stream + 1, size)
        member = resume(path, damage) if zipped else following if following is None else f"@{following}"
        if member is None:
            return
        chunks = whole_gzip(path, member) if zipped else in_turn(path, int(member[1:]))


def whole_gzip(path: Path, member: str) -> Iterator[bytes]:
    with opened(path, member) as handle:
        while chunk := handle.read(CHUNK):
            yield chunk


# ------------------------------------------------------------------------------------------------ where streams begin


def begins_with_page(path: Path, at: int) -> bool:
    with open(path, "rb") as handle:
        return Stream(handle, at).first().lstrip().startswith(OPEN)


def cuts(path: Path, step: int) -> list[int] | None:
    """Where the shards of a multistream dump begin, about `step` compressed bytes apart; None for any other file."""
    about = path.stat()
    return _cuts(path, about.st_size, about.st_mtime_ns, step)


@lru_cache(maxsize=256)
def _cuts(path: Path, size: int, changed: int, step: int) -> list[int] | None:
    first = _first_pages(path, size)
    if first is None:
        return None
    found = [0]
    listed = indexed(path)
    target = max(step, first + 1)
    place = next(listed, None)
    while target < size:
        while place is not None and place < target:
            place = next(listed, None)
        near = place is not None and place < min(target + step, size)
        at = place if near and begins_with_page(path, cast(int, place)) else border(path, target, size, begins_with_page)
        if at is None:
            break
        found.append(at)
        target = at + step
    return found


def _first_pages(path: Path, size: int) -> int | None:
    """Where the second stream of a multistream dump begins; None for a file of one stream, or across which pages run.

    Where one of the first two is damaged, that a later one begins with a page decides."""
    last, given = CLOSE, 0
    with open(path, "rb") as handle:
        stream = Stream(handle, 0)
        try:
            for chunk in stream:
                given += len(chunk)
                last = (TAG.findall(chunk) or [last])[-1]
                if given > FIRST:
                    return None
        except Damage:
            return border(path, 1, min(size, HEAD), begins_with_page)
    if last == OPEN or stream.end >= size:
        return None
    if begins_with_page(path, stream.end):
        return stream.end
    if intact(path, stream.end):
        return None
    return border(path, stream.end + 1, min(size, stream.end + HEAD), begins_with_page)


def index_of(path: Path) -> Path | None:
    """The index beside a multistream dump: `…-multistream-index.txt`, also compressed, or with a range of pages behind."""
    if "-multistream" not in path.name:
        return None
    name = path.name.replace("-multistream", "-multistream-index", 1).replace(".xml", ".txt", 1)
    names = (name, name.removesuffix(".bz2"))
    return next((path.with_name(one) for one in names if path.with_name(one).is_file()), None)


def indexed(path: Path) -> Iterator[int]:
    """The places at which streams begin, as the index lists them (`place:page id:title` a line); none without one."""
    index = index_of(path)
    if index is None:
        return
    last = -1
    try:
        with opened(index, index.stem if index.suffix == ".bz2" else None) as handle:
            rest = b""
            while True:
                block = handle.read(CHUNK)
                rows = (rest + block).split(b"\n")
                rest = rows.pop()[-10_000:] if block else b""  # no line is that long
                if not rows or not rows[-1].startswith(b"%d:" % last):  # else all of them share a stream
                    for row in rows:
                        number = row.partition(b":")[0]
                        if number.isdigit() and len(number) < 16 and int(number) > last:
                            last = int(number)
                            yield last
                if not block:
                    return
    except (Damage, OSError):
        return


# ------------------------------------------------------------------------------------------------ what a dump says of itself


@dataclass(frozen=True)
class Site:
    """`prefix`: what stands before a title in a page's address; `namespaces`: number → its name in the dump."""

    language: str | None = None
    prefix: str | None = None
    namespaces: dict[int, str] = field(default_factory=dict)
    is_dump: bool = False

    def number(self, title: str) -> int:
        """The namespace that a title stands in, for dumps that do not say."""
        name, colon, _ = title.partition(":")
        return next((key for key, known in self.namespaces.items() if colon and known and known == name), 0)


def site(path: Path) -> Site:
    about = path.stat()
    return _site(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _site(path: Path, size: int, changed: int) -> Site:
    head = b""
    try:
        with opened(path, path.stem if path.suffix.lower() in (".bz2", ".gz") else None) as handle:
            while len(head) < HEAD and OPEN not in head and b"</siteinfo>" not in head:
                chunk = handle.read(64 << 10)
                if not chunk:
                    break
                head += chunk
    except Damage:
        pass
    root = re.search(rb"<mediawiki\b[^<>]*>", head)
    if root is None:
        return Site()
    spoken = re.search(rb"""\bxml:lang=["']([A-Za-z0-9-]{2,20})["']""", root[0])
    info = head.partition(b"</siteinfo>")[0].partition(b"<siteinfo>")[2]
    base = re.search(rb"<base>([^<]{1,2000})</base>", info)
    database = re.search(rb"<dbname>([a-z_]{2,20}?)wik", info)
    language = spoken[1].decode() if spoken else database[1].decode().replace("_", "-") if database else None
    spaces = re.findall(rb'<namespace key="(-?[0-9]{1,5})"[^<>]*?(?:/>|>([^<]*)</namespace>)', info)
    names = {int(key): name.decode("utf-8", "replace").replace("&amp;", "&") for key, name in spaces}
    prefix = base[1].decode("utf-8", "replace").rpartition("/")[0] + "/" if base else None
    return Site(language, prefix, names, is_dump=True)
