"""The compiled messages of a program: a .mo file of GNU gettext, as its manual describes the format.

    0   magic 0x950412de, in the byte order of the file       12  where the table of originals begins
    4   revision                                              16  where that of the translations begins
    8   how many messages                                     each row of a table: length, offset

An original may have a context before it ("context\\x04original") and a plural behind it ("one\\0many"); its translation then
has several forms. The first of each is given.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text

MAGIC = 0x950412DE


def messages(content: bytes, name: str) -> Iterator[tuple[str, str]]:
    """(original, translation) in the file's order, without its header; CorruptError for what is no such file."""
    try:
        order = "<" if struct.unpack("<I", content[:4])[0] == MAGIC else ">"
        magic, revision, count, *tables = struct.unpack(f"{order}5I", content[:20])
        if magic != MAGIC or revision >> 16 > 1:
            raise ValueError("another beginning")
        for number in range(count):
            original, translation = (_text(content, order, table + 8 * number) for table in tables)
            if original:  # the empty one is the header
                yield original.rpartition("\x04")[2], translation
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise CorruptError(name, text("a .mo file of GNU gettext in UTF-8"), str(error)) from None


def _text(content: bytes, order: str, row: int) -> str:
    length, offset = struct.unpack_from(f"{order}2I", content, row)
    if offset + length > len(content):
        raise ValueError("it ends too soon")
    return content[offset : offset + length].partition(b"\0")[0].decode("utf-8")
