"""The user's lists: files with one entry a line, plain or gzipped, UTF-8. A line that begins with `#` is a comment, and so
is what follows a ` #`. Domains, addresses and words all come so; a folder or a glob of such files is one list.

Blocklists grow to millions of lines, so a list is read once in each process and never travels between them.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import expand

COMMENT = re.compile(r"\s#.*")

Paths = str | list[str]
Stamp = tuple[tuple[str, int, int], ...]


def files(paths: Paths | None, endings: Sequence[str] = ()) -> list[Path]:
    """The files of a list, in order; none for None. `endings` choose within folders. DataError where one does not exist."""
    named = [] if paths is None else [paths] if isinstance(paths, str) else paths
    return list(dict.fromkeys(file for path in named for file in expand(path, endings)))


def stamp(paths: Paths | None, endings: Sequence[str] = ()) -> Stamp:
    """The files of a list with their sizes and times: what tells it from another one, a key for what is made of it."""
    return tuple((str(file), status.st_size, status.st_mtime_ns) for file in files(paths, endings) if (status := file.stat()))


@lru_cache(maxsize=64)
def entries(stamped: Stamp) -> tuple[str, ...]:
    """Every entry of a list, in order, each once. DataError where a file cannot be read or holds no entry."""
    found: dict[str, None] = {}
    for name, _, _ in stamped:
        found.update(dict.fromkeys(read(Path(name))))
    return tuple(found)


def read(file: Path) -> Sequence[str]:
    """The entries of one file."""
    where = str(file)
    try:
        raw = gzip.decompress(file.read_bytes()) if file.suffix.lower() == ".gz" else file.read_bytes()
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        given = text("byte 0x{byte} in line {line}", byte=f"{raw[error.start]:02x}", line=raw.count(b"\n", 0, error.start) + 1)
        raise DataError(where, text("a list in UTF-8, one entry a line"), given, text("save it as UTF-8")) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(where, text("a whole gzip file"), str(error)) from None
    except OSError as error:
        raise DataError(where, text("a file that can be read"), error.strerror or str(error)) from None
    if "\0" in content:
        raise DataError(where, text("a list in UTF-8, one entry a line"), text("binary data"))
    lines = (COMMENT.sub("", line).strip() for line in content.splitlines() if not line.lstrip().startswith("#"))
    found = [line for line in lines if line]
    if not found:
        raise DataError(where, text("a list with at least one entry"), text("none"))
    return found
