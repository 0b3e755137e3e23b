"""What a finished folder says of itself: `manifest.json` with the hash of every file and the digest of its outputs.

The digest covers only the files that belong to a declared output; logs, plans and timings lie beside and are hashed for
`verify`, but do not change what later stages see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.errors import CorruptError
from yanmo.core.messages import text

MANIFEST, BEGUN = "manifest.json", "begun.json"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        found = files.read_json(path)
    except ValueError as error:
        raise CorruptError(str(path), text("valid JSON"), str(error), text("remove the folder and run again")) from None
    return found if isinstance(found, dict) and "digest" in found else None


def record(folder: Path, outputs: dict[str, str]) -> dict[str, Any]:
    """Hashes of every file in the folder, and the digest of those that belong to an output."""
    hashes = {}
    for path in files.files(folder):
        name = path.relative_to(folder).as_posix()
        if name not in (MANIFEST, BEGUN) and not any(p.startswith(files.TEMPORARY) for p in Path(name).parts):
            hashes[name] = {"size": path.stat().st_size, "sha256": files.sha256(path)}
    roots = set(outputs.values())
    for root in roots:
        assert root == "." or any(n == root or n.startswith(root + "/") for n in hashes), f"output {root} has no file"
    owned = {n: h["sha256"] for n, h in hashes.items()
             if any(r == "." or n == r or n.startswith(r + "/") for r in roots)}  # fmt: skip
    return {"digest": files.digest(owned), "files": hashes}


def missing(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a file that the manifest records is gone or of another size (`verify` reads the bytes too)."""
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["size"]:
            return True
    return False


def digest_of(folder: Path) -> str:
    """The digest of a stage's or a model's folder: of the outputs its manifest names, else of every file in it."""
    manifest = read_manifest(folder)
    if manifest:
        return manifest["digest"]
    if folder.is_file():
        return files.sha256(folder)
    return files.digest({p.relative_to(folder).as_posix(): files.sha256(p) for p in files.files(folder)})


def stage_manifests(directory: Path) -> list[dict[str, Any]]:
    """The manifests of a run's finished stages, in the order of its recipe."""
    import yaml

    recipe = yaml.safe_load((directory / "recipe.yaml").read_text(encoding="utf-8"))
    order = [item.get("name") or next(iter(item)) for item in recipe["stages"]]
    found = [(name, read_manifest(directory / name)) for name in order]
    return [manifest for _, manifest in found if manifest]
