"""Texts in archives: tar (also compressed) and zip, their members text files or JSON lines; and a tar within, one deep.

A plain tar and a zip are cut by members, so that a large one feeds every worker; a compressed tar is read from its start.
Members are named, never extracted: '../../etc/passwd' is a name like any other. Members of other kinds than text are passed
over, as other files in a folder are; where there is no other, that is said. Damage costs the member that it is in: of a tar
the next header is looked for.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import translate
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, ClassVar

from pydantic import Field

from yanmo.core.data import Document, Origin
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.corpus import source
from yanmo.corpus.formats import compression, members
from yanmo.corpus.formats.compressed import FREE, RATIO, Damage, decoded, part
from yanmo.corpus.formats.compression import codec_of, with_compressed
from yanmo.corpus.formats.lines import Numbers
from yanmo.corpus.formats.members import Gap
from yanmo.corpus.source import RowSource, Shard
from yanmo.corpus.sources import jsonl
from yanmo.corpus.sources import text as texts

TARS = (".tar", ".tgz", ".tbz2", ".tbz", ".txz", ".tzst", *(".tar" + packed for packed in compression.ENDINGS))
LINES = with_compressed(jsonl.ENDINGS)
TEXTS = with_compressed(texts.ENDINGS)


class ArchiveSource(RowSource):
    """Archives (tar, tar.gz, tar.bz2, tar.xz, tar.zst, zip): one document a text file in them, or a line of JSON lines.

    `members`: a pattern for the names of those that are read (`20news-*/*`), which are then text whatever their ending; None
    goes by the ending. `encoding` and `gutenberg` are for text, as in `text`; `fields` and `max_line_bytes` for JSON lines."""

    type: str = "archive"
    encoding: str = "auto"
    gutenberg: bool = True
    max_line_bytes: int = Field(default=16 << 20, gt=0)
    members: str | None = None

    endings: ClassVar[tuple[str, ...]] = (".zip", *TARS, "_data.xz")  # the last: OpenWebText's parts

    def shards(self) -> list[Shard]:
        return [shard for _, file in self.located() for shard in _shards(file)]

    def documents(self, shard: Shard) -> Iterator[Document]:
        if shard.stamp[0] == 0:
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "empty_file")
            return
        found = _Reading(self, shard)
        yield from found.documents()
        if not found.given and shard.whole:
            first = found.passed[0] if found.passed else None
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "no_text_inside", first)

    def check(self) -> None:
        compression.check([file for _, file in self.located()], self.type)
        super().check()

    def expects(self) -> Any:
        return text("an archive of text files or JSON lines")


def _shards(path: Path) -> list[Shard]:
    """Ranges of members: by the bytes of their headers in a plain tar, by their number in a zip. `whole`: all of them."""
    name, size = written(path), path.stat().st_size
    places: Sequence[int]
    if codec_of(path) is not None or size < 2 * source.SHARD_BYTES:
        return [Shard(name, None, 0, size, size, whole=True)]
    if path.suffix.lower() == ".zip":
        try:
            sizes = [info.compress_size for _, info in members.zip_entries(path)]
        except members.UNZIPPING:
            sizes = []
        places = range(len(sizes) + 1)
    else:
        with open(path, "rb") as handle:
            names = members.Names()
            found = list(members.tar_entries(handle, names=names))
        if names.again:
            found = []  # whoever tells the second of a name from the first has to read from the start
        sizes, places = [entry.end - entry.start for entry in found], [*(entry.start for entry in found), size]
    cuts, held = [0], 0
    for index, length in enumerate(sizes):
        held += length
        if held >= source.SHARD_BYTES and index + 1 < len(sizes):
            cuts.append(index + 1)
            held = 0
    if len(cuts) < 2:
        return [Shard(name, None, 0, size, size, whole=True)]
    cuts.append(len(sizes))
    ends = [places[cut] for cut in cuts]
    ends[0] = 0
    held_by = [sum(sizes[first:last]) for first, last in pairwise(cuts)]
    return [Shard(name, None, first, last, held) for (first, last), held in zip(pairwise(ends), held_by)]


class _Reading:
    """One pass over a shard's members. `passed`: the first names of other kinds; `given`: whether there was any record."""

    def __init__(self, archive: ArchiveSource, shard: Shard):
        self.source, self.shard, self.given, self.passed = archive, shard, False, list[str]()
        self.chosen = re.compile(translate(archive.members)) if archive.members is not None else None
        shared: dict[str, Any] = {"path": archive.path, "name": archive.name}
        self.text = texts.TextSource(**shared, encoding=archive.encoding, gutenberg=archive.gutenberg)
        self.lines = jsonl.JsonlSource(**shared, fields=archive.fields, max_line_bytes=archive.max_line_bytes)

    def documents(self) -> Iterator[Document]:
        for doc in self._zipped() if self.shard.path.suffix.lower() == ".zip" else self._tarred():
            self.given = True
            yield doc

    def _quarantined(self, member: str | None, place: int, reason: str, value: str) -> Document:
        return self.source.quarantined("", Origin(self.shard.file, member, place, place), reason, value)

    def _zipped(self) -> Iterator[Document]:
        path, shard = self.shard.path, self.shard
        try:
            entries = members.zip_entries(path)
            archive = zipfile.ZipFile(path)
        except members.UNZIPPING as error:
            yield self._quarantined(None, 0, "bad_archive", " ".join(str(error).split()))
            return
        with archive:
            for name, info in entries if shard.whole else entries[shard.start : shard.end]:
                if not self._wanted(name, nested=True):
                    continue
                if info.file_size > FREE and info.file_size > RATIO * max(info.compress_size, 1):
                    why = f"{info.file_size} bytes in {info.compress_size}"
                    yield self._quarantined(name, 0, "bomb", why)
                    continue
                try:
                    opened = archive.open(info)
                except members.UNZIPPING as error:
                    reason = "encrypted" if info.flag_bits & 1 else "bad_archive"
                    yield self._quarantined(name, 0, reason, " ".join(str(error).split()))
                    continue
                with part(opened, info.file_size, owned=True) as handle:
                    yield from self._member(name, handle, nested=True)

    def _tarred(self) -> Iterator[Document]:
        path, shard = self.shard.path, self.shard
        codec = codec_of(path)
        with open(path, "rb") as file, file if codec is None else decoded(file, codec) as handle:
            first, end = (0, None) if shard.whole else (shard.start, shard.end if shard.end < shard.stamp[0] else None)
            try:
                yield from self._entries(handle, "", first, end)
            except Damage as damage:
                yield self._quarantined(None, damage.position, damage.reason, damage.value())

    def _entries(self, handle: IO[bytes], prefix: str, first: int = 0, end: int | None = None) -> Iterator[Document]:
        """The documents of a tar's members; `prefix`: the name of the tar within which it lies, and '!'."""
        said = False  # that it is cut off, of the member that is
        for entry in members.tar_entries(handle, first, end):
            if not isinstance(entry, Gap):
                if self._wanted(entry.name, nested=not prefix):
                    with part(handle, entry.size) as member:
                        for doc in self._member(prefix + entry.name, member, nested=not prefix):
                            said = doc.rejection is not None and doc.rejection.reason == "truncated_archive"
                            yield doc
            elif not entry.truncated:
                yield self._quarantined(prefix[:-1] or None, entry.start, "bad_archive", f"{entry.why} up to {entry.end}")
            elif not said:
                yield self._quarantined(prefix[:-1] or None, entry.start, "truncated_archive", entry.why)

    def _wanted(self, name: str, nested: bool) -> bool:
        """Whether a member of that name is text, or may hold some."""
        lower = name.lower()
        if self.chosen is not None:
            wanted = self.chosen.match(name) is not None
        else:
            wanted = lower.endswith((*LINES, *TEXTS))
        wanted = wanted or (nested and (lower.endswith(TARS) or (self.chosen is None and codec_of(lower) is not None)))
        if not wanted and len(self.passed) < 3:
            self.passed.append(name)
        return wanted

    def _member(self, name: str, handle: IO[bytes], nested: bool) -> Iterator[Document]:
        """What a member holds; damage of its own is said, that of the archive goes on to whoever reads it."""
        lower, codec = name.rpartition("!")[2].lower(), codec_of(name)
        content = handle if codec is None else decoded(handle, codec)
        own: tuple[Any, ...] = (getattr(handle, "raw", None), getattr(content, "raw", None))
        try:
            if lower.endswith(LINES):
                yield from self.lines.rows(content, Origin(self.shard.file, name, 0, -1), Numbers(None))
            elif lower.endswith(TEXTS) or (self.chosen is not None and not lower.endswith(TARS)):
                yield from self.text.whole(content, self.shard.file, name)
            else:
                yield from self._entries(content, f"{name}!")
        except Damage as damage:
            if damage.source not in own:
                raise
            yield self._quarantined(name, damage.position, damage.reason, damage.value())
