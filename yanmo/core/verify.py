"""`yanmo verify`: every artifact of a run hashed again, and every link followed back to the source files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.errors import RequestError
from yanmo.core.manifest import MANIFEST, digest_of, read_manifest
from yanmo.core.messages import text
from yanmo.core.paths import locate


def verify(directory: str | Path) -> dict[str, Any]:
    """Re-hashes every artifact of a run back to the source files: {"ok", "checked", "changed": [{path, what}]}."""
    directory = Path(directory)
    manifests = sorted(directory.glob(f"*/{MANIFEST}")) + sorted(directory.glob(f"tokens/*/{MANIFEST}"))
    if not manifests:
        raise RequestError(str(directory), text("a run directory"), text("no manifest.json in it"))
    checked, changed = 0, []

    def note(path: Any, what: Any) -> None:
        changed.append({"path": str(path), "what": str(what)})

    for path in manifests:
        folder, manifest = path.parent, read_manifest(path.parent)
        if manifest is None:
            continue
        for name, entry in manifest["files"].items():
            checked += 1
            if not (folder / name).is_file():
                note(folder / name, text("gone"))
            elif files.sha256(folder / name) != entry["sha256"]:
                note(folder / name, text("changed"))
        for source in manifest["sources"]:
            checked += 1
            place = locate(source["path"])
            if not place.is_file():
                note(source["path"], text("gone"))
            elif files.sha256(place) != source["sha256"]:
                note(source["path"], text("changed"))
        for link in manifest["inputs"] or []:
            checked += 1
            target = directory / link["from"] if (directory / link["from"]).exists() else Path(link["from"])
            if not target.exists():
                note(link["from"], text("gone"))
            elif digest_of(target) != link["digest"]:
                note(link["from"], text("not what {stage} was made from", stage=manifest["stage"]))
    return {"ok": not changed, "checked": checked, "changed": changed}
