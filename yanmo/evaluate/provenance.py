"""Whose labelled data it was: what a SOURCE file beside the data says, or that nothing is said."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yanmo.core.paths import written
from yanmo.corpus.source import ABOUT


def provenance(files: Iterable[Path]) -> list[dict[str, Any]]:
    """{"folder", "files", "title", "licence"} for each folder that the files lie in; unknown things are None."""
    folders: dict[Path, list[str]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file.name)
    return [{"folder": written(folder), "files": sorted(names), **about(folder)} for folder, names in sorted(folders.items())]


def about(folder: Path) -> dict[str, str | None]:
    import yaml

    for name in ABOUT:
        if (folder / name).is_file():
            try:
                found = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):
                continue  # somebody's free text: nothing that we may quote as a licence
            if isinstance(found, dict):
                return {key: None if found.get(key) is None else str(found[key]) for key in ("title", "licence")}
    return {"title": None, "licence": None}
