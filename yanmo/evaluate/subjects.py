"""The models under evaluation: opened once each, with what is known of how they were made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
    others: tuple[Path, ...] = ()  # that answer together with it
    samples: int | None = None  # of its posterior, instead of its mean

    @property
    def stage(self) -> str | None:
        """The stage that made the model, by the manifest beside it."""
        return self.manifest.get("stage")

    def origin(self, others: Iterable[Subject]) -> str | None:
        """The name of that among `others` whose training the model's stage went on from, by its manifest; None where it is not
        there, or nothing of that kind."""
        link = next((link for link in self.manifest.get("inputs") or [] if link["role"] == "model"), None)
        if link is None:
            return None
        for other in others:
            beside = other.stage == link["from"] and other.folder.resolve().parent == self.folder.resolve().parent
            if other is not self and (beside or Path(link["from"]).resolve() == other.folder.resolve()):
                return other.name
        return None

    def open(self) -> Model:
        from yanmo.inference.model import Model

        return Model.open([self.folder, *self.others], samples=self.samples)

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


def together(members: Sequence[Subject], samples: int | None = None) -> Subject:
    """The subjects as one whose answers are the mean of theirs."""
    others = tuple(member.folder for member in members[1:])
    return replace(members[0], name="+".join(member.name for member in members), others=others, samples=samples)


def facts(model: Model) -> dict[str, Any]:
    """What does not depend on the machine: family, parameters, bytes on disk, vocabulary, context, labels."""
    loaded = model.loaded
    return {
        "model_type": loaded.config.get("model_type"),
        "kind": getattr(loaded.model, "kind", None),
        "objective": (loaded.config.get("yanmo") or {}).get("objective"),
        "parameters": parameters(loaded.model),
        "bytes": sum(path.stat().st_size for folder in dict.fromkeys(model.folders)
                     for path in ([folder] if folder.is_file() else files.files(folder)) if path.name != MANIFEST),
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
