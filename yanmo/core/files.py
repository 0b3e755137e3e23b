"""Files that are either whole or absent: written to a temporary name, flushed to disk, renamed; and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yanmo.core.errors import StorageError
from yanmo.core.messages import Text, text

TEMPORARY = ".tmp-"  # a name that starts so is nobody's: any start of a run may remove it
POINTER = b"version https://git-lfs"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_full(path: Path) -> StorageError:
    remedy = text("free some space and run the same command again: finished work is kept")
    return StorageError(str(path), text("room on the disk"), text("the disk is full"), remedy)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; on success it is synced and renamed to `path`, else removed.

    The body may make a file or a folder there. A full disk is reported as StorageError and leaves `path` as it was.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        if temporary.is_dir() and path.is_dir():
            retired = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-old-{path.name}")
            os.replace(path, retired)
            os.replace(temporary, path)
            shutil.rmtree(retired, ignore_errors=True)
        else:
            os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        remove(temporary)
        if error_number(error) in FULL:
            raise disk_full(path) from error
        raise


def error_number(error: BaseException) -> int | None:
    """The system's error number; libraries written in Rust (safetensors) say it only in their message."""
    if isinstance(error, OSError):
        return error.errno
    said = re.search(r"\(os error (\d+)\)", str(error)) if isinstance(error, Exception) else None
    return int(said.group(1)) if said else None


def write_text(path: Path, content: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def pointer(start: bytes) -> Text | None:
    """What to say of a file that begins so, where it is what git leaves in a file's place without Git LFS; else None."""
    if not start.startswith(POINTER):
        return None
    return text("a pointer to the file, which Git LFS did not fetch: run 'git lfs pull' where it came from")


def sync(path: Path) -> None:
    for file in files(path) if path.is_dir() else [path]:
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Removes what a killed process left: every name below `folder` that starts as temporary ones do."""
    for path in sorted(folder.rglob(f"{TEMPORARY}*")):
        remove(path)


def files(folder: Path) -> list[Path]:
    """Every file below `folder`, sorted by its path."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(value: Any) -> str:
    """The sha256 of a value's canonical JSON."""
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
