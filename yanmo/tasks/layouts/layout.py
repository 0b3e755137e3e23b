"""What a layout knows: which files are which split, and how a file's rows become records with `text`, `second`, `label`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yanmo.core.config import Part
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import locate
from yanmo.tasks.records import Record


class Layout(Part):
    """A published layout of classification data."""

    def files(self, path: str | dict[str, str]) -> dict[str, list[Path]]:
        """Split → files, in the order train, validation, test; DataError where they are not there."""
        raise NotImplementedError

    def records(self, file: Path) -> Iterator[Record]:
        """A file's rows, their fields called `text`, `second` (of a pair), `label` and, where results are to be split by it,
        `language` (the name of Classify's group)."""
        raise NotImplementedError


def named(path: str | dict[str, str], names: dict[str, tuple[str, ...]]) -> dict[str, list[Path]]:
    """Split → those of the files `names` (split → file names) that the folder `path` holds; every split must have one."""
    if isinstance(path, dict):
        return {split: [locate(path[split])] for split in names if split in path}
    folder = locate(path)
    found = {}
    for split, wanted in names.items():
        found[split] = [folder / name for name in wanted if (folder / name).is_file()]
        if not found[split]:
            raise DataError(str(path), text("a folder with {names}", names=" / ".join(wanted)), text("none"))
    return found
