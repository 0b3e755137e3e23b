"""What a stage's result depends on, as one hash: settings, seed, source files, inputs, and the budget where it plans by it.

Never a path of the machine's and never a time, so that a run can be moved and copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.config import Part, Settings
from yanmo.core.errors import RunError
from yanmo.core.manifest import BEGUN, digest_of, read_manifest
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.core.recipe import Entry, Recipe
from yanmo.core.stage import Input


def settings_of(value: Any) -> Any:
    """Settings as the fingerprint sees them: each part with its class and version, execution fields left out."""
    if isinstance(value, Settings):
        out = {name: settings_of(getattr(value, name)) for name in type(value).model_fields}
        out = {name: v for name, v in out.items() if name not in value.execution}
        if isinstance(value, Part):
            out["class"] = f"{type(value).__module__}:{type(value).__qualname__}"
            out["version"] = value.version
        return out
    if isinstance(value, dict):
        return {str(k): settings_of(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [settings_of(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def fingerprint_of(entry: Entry, recipe: Recipe, links: list[Input], sources: list[Path], directory: Path) -> tuple[str, dict]:
    known = {s["path"]: s for s in (read_manifest(directory / entry.name) or {}).get("sources", [])}
    inputs = [{"role": link.role, "from": link.stage or str(link.path),
               "digest": digest_of(link.path or directory / str(link.stage))} for link in links]  # fmt: skip
    parts = {"settings": settings_of(entry.stage), "seed": recipe.seed, "inputs": inputs,
             "sources": [source_of(path, known) for path in sources]}  # fmt: skip
    if recipe.budget and entry.stage.weight > 0:
        parts["budget"] = recipe.budget.minutes
    key = {**parts, "sources": [(s["path"], s["sha256"]) for s in parts["sources"]],
           "inputs": [(i["role"], i["digest"]) for i in inputs]}  # fmt: skip
    return files.digest(key), parts


def source_of(path: Path, known: dict[str, dict]) -> dict[str, Any]:
    """A file's hash, from the last manifest where size and time of change are the same."""
    status = path.stat()
    old = known.get(written(path))
    if old and old["size"] == status.st_size and old["mtime_ns"] == status.st_mtime_ns:
        return old
    return {"path": written(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": files.sha256(path)}


def check_differences(recipe: Recipe, wanted: Sequence[Entry], sources: dict[str, list[Path]], directory: Path,
                       redo: set[str]) -> None:  # fmt: skip
    """Before any work: the folder of a wanted stage whose own settings or files differ from the recipe's stops the run.

    Inputs that changed because an earlier stage is redone are no difference: what depends on it is redone with it."""
    for entry in wanted:
        folder = directory / entry.name
        old = read_manifest(folder) or (files.read_json(folder / BEGUN) if (folder / BEGUN).is_file() else None)
        if old is None or entry.name in redo:
            continue
        now = {"settings": settings_of(entry.stage), "seed": recipe.seed}
        before = {"settings": old.get("settings"), "seed": old.get("seed")}
        if (recipe.budget and entry.stage.weight > 0) or "budget" in old:
            now["budget"] = recipe.budget.minutes if recipe.budget else None
            before["budget"] = old.get("budget")
        changes = differences(before, now)
        known = {s["path"]: s for s in old.get("sources", [])}
        for path in sources[entry.name]:
            if written(path) not in known:
                changes.append(text("{path} is new", path=written(path)))
            elif source_of(path, known)["sha256"] != known[written(path)]["sha256"]:
                changes.append(text("{path} has changed", path=written(path)))
        for path_name in known:
            if path_name not in {written(p) for p in sources[entry.name]}:
                changes.append(text("{path} is gone", path=path_name))
        if changes:
            shown = "; ".join(str(change) for change in changes[:4]) + ("; …" if len(changes) > 4 else "")
            remedy = text("use --redo {stage} to make it again, or --run-dir DIR for another run", stage=entry.name)
            raise RunError(str(folder), text("the settings it was made with"), shown, remedy)


def differences(old: Any, new: Any, key: str = "") -> list[Any]:
    """The dotted keys at which two trees of plain data differ, as 'key: old → new'."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in [*new, *(n for n in old if n not in new)]:
            inner = key if name == "settings" and not key else f"{key}.{name}".strip(".")
            found += differences(old.get(name), new.get(name), inner)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for i, (a, b) in enumerate(zip(old, new)) for d in differences(a, b, f"{key}.{i}")]
    return [] if old == new else [f"{key}: {_short(old)} → {_short(new)}"]


def _short(value: Any) -> str:
    shown = str(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
