"""Nothing to do, known in a moment: a finished run is recognised without importing any part's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.manifest import digest_of, missing, read_manifest
from yanmo.core.package import HOME, VERSION
from yanmo.core.paths import locate

FINISHED = ".finished.json"


def unchanged(request: Any, directory: Path) -> dict[str, Any] | None:
    """The report of a run with nothing left to do, or None; reads no part's code, so that it takes a moment.

    `request` is the recipe as plain data; it, the code, every artifact's size, and the size and time of change of every
    source file and of its folder are as `remember` found them."""
    path = directory / FINISHED
    if not path.is_file():
        return None
    found = files.read_json(path)
    if found["request"] != _request(request) or found["folders"] != _times(found["folders"]):
        return None
    for name in found["stages"]:
        manifest = read_manifest(directory / name)
        if manifest is None or missing(directory / name, manifest):
            return None
        for source in manifest["sources"]:
            place = locate(source["path"])
            status = place.stat() if place.is_file() else None
            if status is None or (status.st_size, status.st_mtime_ns) != (source["size"], source["mtime_ns"]):
                return None
        for link in manifest["inputs"]:
            target = directory / link["from"] if (directory / link["from"]).exists() else Path(link["from"])
            if not target.exists() or digest_of(target) != link["digest"]:
                return None
    return {"run_dir": str(directory), "stages": dict.fromkeys(found["stages"], "skipped")}


def remember(request: Any, directory: Path, stages: list[str]) -> None:
    """Writes what `unchanged` compares with."""
    sources = [s["path"] for name in stages for s in (read_manifest(directory / name) or {}).get("sources", [])]
    folders = dict.fromkeys(str(Path(path).parent) for path in sources)
    files.write_json(directory / FINISHED, {"request": _request(request), "stages": stages, "folders": _times(folders)})


def _request(data: Any) -> str:
    stats = [(p.relative_to(HOME).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(HOME.rglob("*.py"))]
    return files.digest([data, VERSION, stats])


def _times(folders: Any) -> dict[str, int | None]:
    return {name: locate(name).stat().st_mtime_ns if locate(name).is_dir() else None for name in folders}
