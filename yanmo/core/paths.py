"""A recipe's `path`: a file, a folder, a glob, or `{train: …, validation: …, test: …}` of those, as sorted files."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import text
from yanmo.core.package import HOME
from yanmo.core.published import how_to_get

NAMED = 6  # endings that an error names
RECORD = "SOURCE.json"  # says where a folder's data comes from (`yanmo data get`), and is none


def expand(path: str, endings: Iterable[str] = (), where: str | None = None) -> list[Path]:
    """The files that `path` names, sorted; `endings` (such as '.txt') choose within a folder. Never empty: DataError.

    `samples/NAME` that does not exist here is looked for among the samples shipped in the package.
    """
    place = locate(path)
    chosen = tuple(endings)
    if place.is_file():
        found = [place]
    elif place.is_dir():
        found = [p for p in place.rglob("*") if p.is_file() and not any(q.startswith(".") for q in p.relative_to(place).parts)]
        found = [p for p in found if not chosen or (p.name.lower().endswith(chosen) and p.name != RECORD)]
        if not found:
            kinds = ", ".join(chosen[:NAMED]) + ", …" * (len(chosen) > NAMED) or "*"
            raise DataError(where or path, text("files ({kinds}) in the folder {path}", kinds=kinds, path=path), text("none"))
    elif any(c in path for c in "*?["):
        found = [p for p in map(Path, glob.glob(str(place), recursive=True)) if p.is_file()]
        if not found:
            raise DataError(where or path, text("files that match {path}", path=path), text("none"))
    elif place.exists() or place.is_symlink():
        given = text("{path}, which is neither", path=path) if place.exists() else text("{path}, a link to nothing", path=path)
        raise DataError(where or path, text("a file, a folder or a glob"), given)
    else:
        siblings = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
        remedy = how_to_get(path) or (nearest(place.name, siblings) if siblings and place.name else None)
        raise DataError(where or path, text("a file, a folder or a glob"), text("no such path: {path}", path=path), remedy)
    return sorted(found)


def locate(path: str) -> Path:
    """The place that `path` names: here, or among the samples shipped in the package."""
    place = Path(path).expanduser()
    if not place.exists() and place.parts[:1] == ("samples",):
        shipped = HOME / place
        place = shipped if shipped.exists() or "*" in path else place
    return place


def written(file: Path) -> str:
    """A file that `expand` gave, as a record names it: shipped samples as 'samples/…' wherever the package lies, any other
    as it is. `expand(written(file)) == [file]`."""
    inside = file.is_absolute() and file.is_relative_to(HOME / "samples")
    return (file.relative_to(HOME) if inside else file).as_posix()
