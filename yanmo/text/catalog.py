"""Catalogs of translated messages (gettext): .po, .pot and the compiled .mo.

Of a message with a singular and a plural both are given, each with its form of the translation; a language with one form for
both has it beside the plural.
"""

from __future__ import annotations

import codecs
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yanmo.core.extras import needed

LARGEST = 64 << 20  # bytes of a catalog, which is read whole; the largest known have 10 MB
CHARSET = re.compile(rb"charset=([\w.:-]+)")
LANGUAGE = re.compile(r"^Language:[ \t]*([A-Za-z]{2,3}(?:[_@-][\w@]+)?)", re.M)


@dataclass(frozen=True)
class Message:
    source: str
    target: str
    context: str | None = None
    state: str | None = None  # why its translation is not taken: 'fuzzy', 'obsolete'


class Unreadable(Exception):
    """No catalog, or not one that can be read whole; `reason` as a quarantine names it."""

    def __init__(self, reason: str, value: str):
        super().__init__(reason, value)
        self.reason, self.value = reason, value


def read(path: Path) -> tuple[str, list[Message]]:
    """(header, messages) of a catalog; Unreadable where it is none. A .po needs the library polib."""
    if path.stat().st_size > LARGEST:
        raise Unreadable("too_large", f"{path.stat().st_size} bytes")
    data = path.read_bytes()
    if data[:4] in (b"\xde\x12\x04\x95", b"\x95\x04\x12\xde"):
        return compiled(data)
    return _written(path, data)


def language_of(header: str) -> str | None:
    """The code of the translations' language, where the header says it: 'zh_CN'."""
    found = LANGUAGE.search(header)
    return found[1] if found else None


def _coded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except UnicodeDecodeError as error:
        raise Unreadable("invalid_encoding", f"byte 0x{data[error.start]:02x} at {error.start}, not {charset}") from None


def _charset(data: bytes) -> str:
    """The codec that a header says; UTF-8 where it says none that there is (a template says 'CHARSET')."""
    found = CHARSET.search(data)
    try:
        return codecs.lookup(found[1].decode("ascii")).name if found else "utf-8"
    except LookupError:
        return "utf-8"


def _written(path: Path, data: bytes) -> tuple[str, list[Message]]:
    polib = needed("polib", "corpus", "gettext")
    charset = _charset(data[: 64 << 10])
    _coded(data, charset)
    try:
        catalog = polib.pofile(str(path), encoding=charset)
    except (OSError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Unreadable("bad_file", " ".join(str(error).split())) from None
    found = []
    for entry in catalog:
        state = "obsolete" if entry.obsolete else "fuzzy" if entry.fuzzy else None
        forms = [entry.msgstr_plural[key] for key in sorted(entry.msgstr_plural)]
        found += _forms(entry.msgid, entry.msgid_plural, forms or [entry.msgstr], entry.msgctxt, state)
    header = "\n".join(f"{key}: {value}" for key, value in catalog.metadata.items())
    return header, found


def _forms(one: str, many: str | None, targets: list[str], context: str | None, state: str | None = None) -> list[Message]:
    """A message, or its singular and its plural; a language with one form for both has it beside the plural."""
    if not many:
        return [Message(one, targets[0], context, state)]
    pairs = [(many, targets[0])] if len(targets) == 1 else [(one, targets[0]), (many, targets[-1])]
    return [Message(source, target, context, state) for source, target in pairs]


def compiled(data: bytes) -> tuple[str, list[Message]]:
    """A .mo file: two tables of (length, place), one of the messages and one of the translations.

    https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html. Unreadable where it is none."""
    order = "<" if data[:4] == b"\xde\x12\x04\x95" else ">"
    try:
        revision, count, sources, targets = struct.unpack_from(f"{order}4I", data, 4)
        tables = [np.frombuffer(data, f"{order}u4", 2 * count, place).reshape(-1, 2).astype(np.int64)
                  for place in (sources, targets)]  # fmt: skip
    except (struct.error, ValueError):
        raise Unreadable("bad_file", "it ends inside its tables") from None
    if revision >> 16 > 1 or any((table.sum(1) > len(data)).any() for table in tables):
        raise Unreadable("bad_file", "its tables lead outside of it")
    if sum(int(table[:, 0].sum()) for table in tables) > 2 * len(data):
        raise Unreadable("bomb", "its messages are longer than it is")
    strings = [[data[place : place + length] for length, place in table.tolist()] for table in tables]
    charset = _charset(strings[1][0][: 64 << 10]) if count and not strings[0][0] else "utf-8"
    header, found = "", list[Message]()
    for source, target in zip(*strings):
        said, sep, message = _coded(source, charset).partition("\x04")
        one, _, many = (message if sep else said).partition("\0")
        if source:
            found += _forms(one, many, _coded(target, charset).split("\0"), said if sep else None)
        else:
            header = _coded(target, charset)
    return header, found
