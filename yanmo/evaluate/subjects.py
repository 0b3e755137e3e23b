"""The models under evaluation: opened once each, with what is known of how they were made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core import files
from yanmo.core.manifest import MANIFEST
from yanmo.evaluate.floors import FLOORS

if TYPE_CHECKING:
    from yanmo.inference.model import Model


@dataclass(frozen=True)
class Subject:
    """A model by the name that results give it, and its folder (a stage's, or a model directory itself)."""

    name: str
    folder: Path

    @property
    def stage(self) -> str | None:
        """The stage that made the model, by the manifest beside it."""
        return self.manifest.get("stage")

    def open(self) -> Model:
        from yanmo.inference.model import Model

        return Model.open(self.folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the stage that made the model; empty where no stage of ours did."""
        for folder in (self.folder, self.folder.parent):
            if (folder / MANIFEST).is_file():
                return files.read_json(folder / MANIFEST)
        return {}


def subjects(folders: Iterable[Path]) -> list[Subject]:
    """Named after their folders (`runs/x/lstm` → lstm); equal names get the folder above before them, then a number. The
    names of the floors are taken: a stage called majority is 'majority-model' in the results."""
    found: list[Subject] = []
    for folder in folders:
        place = folder.resolve()
        if place.name == "model" and (place.parent / MANIFEST).is_file():
            place = place.parent
        name = f"{place.name}-model" if place.name in FLOORS else place.name or "model"
        if name in {subject.name for subject in found}:
            name = f"{place.parent.name}-{name}"
        stem, number = name, 2
        while name in {subject.name for subject in found}:
            name, number = f"{stem}-{number}", number + 1
        found.append(Subject(name, folder))
    return found


def facts(model: Model) -> dict[str, Any]:
    """What does not depend on the machine: family, parameters, bytes on disk, vocabulary, context, labels."""
    loaded = model.loaded
    return {
        "model_type": loaded.config.get("model_type"),
        "kind": getattr(loaded.model, "kind", None),
        "objective": (loaded.config.get("yanmo") or {}).get("objective"),
        "parameters": parameters(loaded.model),
        "bytes": sum(path.stat().st_size for path in files.files(loaded.folder) if path.name != MANIFEST),
        "vocabulary": loaded.tokenizer.size if loaded.tokenizer else None,
        "context": getattr(loaded.model, "context", None),
        "labels": len(loaded.labels) or None,
    }


def parameters(model: Any) -> int | None:
    """Trained numbers: weights of a network (shared ones once); None for models that count or look up."""
    if not hasattr(model, "parameters"):
        return None
    count = model.parameters() if not callable(getattr(model, "named_parameters", None)) else model.named_parameters()
    if isinstance(count, int):
        return count
    return sum(tensor.numel() for _, tensor in count) or None
