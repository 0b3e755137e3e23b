"""A family of neural models: its config.json and its tensors' published names, to ours and back.

A family says how one of our tensors is called there; several names mean that it is theirs put side by side along the
first dimension (queries, keys and values are one matrix here and three there). A classifier, a tagger and a reader are
their backbone's tensors without the language head, and those of their own layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.models.base import LanguageModel
from yanmo.models.classifier import Classifier, MultiClassifier
from yanmo.models.headed import Headed
from yanmo.models.reader import Reader
from yanmo.models.tagger import ChainTagger, Tagger
from yanmo.models.weights.folder import read_tensors
from yanmo.models.weights.plausible import held, plausible
from yanmo.models.weights.writing import write_tensors

HEADS = ("head.", "head_bias", "transform.", "pairs.")  # what a classifier leaves behind
MADE: dict[str, type[Headed]] = {cls.ending: cls for cls in (Classifier, Tagger, ChainTagger, Reader)}
Names = dict[str, tuple[str, ...]]  # our parameter → their tensors


class Family:
    """One published kind of model, by the `model_type` of its config.json."""

    model_type: ClassVar[str]
    causal: ClassVar[str]  # the architecture's name in config.json, for a language model
    others: ClassVar[tuple[str, ...]] = ()  # that it may have as well
    labels: ClassVar[str]  # and for a classifier; empty: the family has none that is like ours
    score: ClassVar[str] = "score"  # what a classifier's own layer is called
    tags: ClassVar[str] = "score"  # a tagger's
    edges: ClassVar[str] = "qa_outputs"  # a reader's
    lacks: ClassVar[tuple[str, ...]] = ()  # endings of the models with a head that the family does not have there
    instead: ClassVar[str] = "yanmo_transformer"  # the family of models with a head that is none of this one's
    prefix: ClassVar[str] = ""  # what all tensors' names but the head's begin with, unless the backbone was saved alone
    fixed: ClassVar[dict[str, Any] | None] = None  # settings (dotted keys) that a Transformer must have to be of the family

    @classmethod
    def architectures(cls) -> tuple[str, ...]:
        """All that config.json may call a model of the family."""
        headed = (cls.called(ending) for ending in MADE)
        return tuple(dict.fromkeys(name for name in (cls.causal, *cls.others, *headed) if name))

    @classmethod
    def called(cls, ending: str) -> str:
        """What config.json calls a model with the head that ends so; empty where the family has none that is like ours. Of
        published kinds none has a conditional random field."""
        if ending == ChainTagger.ending and not cls.model_type.startswith("yanmo_"):
            return ""
        return "" if not cls.labels or ending in cls.lacks else cls.labels.removesuffix(Classifier.ending) + ending

    def headed(self, ending: str, part: Any) -> bool:
        """Whether a model with that head over such a model is one of the family."""
        return self.labelled(part) if ending == Classifier.ending else bool(self.called(ending))

    def fits(self, part: Any) -> bool:
        """Whether a complete Transformer's settings can be saved as this family."""
        if self.fixed is None:
            return False
        settings = part.model_dump(mode="json")
        return all(_at(settings, key) == value for key, value in self.fixed.items())

    def labelled(self, part: Any) -> bool:
        """Whether a classifier over such a model is one of the family."""
        return bool(self.labels)

    def architecture(self, model: Any) -> str:
        """What config.json calls a language model with these settings."""
        return self.causal

    def label_names(self, names: Names) -> Names:
        """`names` of a classifier's backbone."""
        return {ours: theirs for ours, theirs in names.items() if not ours.startswith(HEADS)}

    def headed_names(self, names: Names, ending: str) -> Names:
        """`names` of the backbone of a model with that head."""
        if ending == Classifier.ending:
            return self.label_names(names)
        return {ours: theirs for ours, theirs in names.items() if not ours.startswith((*HEADS, "pooler."))}

    def layer(self, ending: str) -> str:
        """What the layer of that head is called there."""
        return {Tagger.ending: self.tags, Reader.ending: self.edges}.get(ending, self.score)

    def config(self, model: Any) -> dict[str, Any]:
        """The config.json that describes `model`, without what the store adds (token ids, labels)."""
        raise NotImplementedError

    def build(self, config: dict[str, Any], place: str, head: bool) -> LanguageModel:
        """An empty model as config.json describes it, without a language head of its own unless `head`; DataError at
        `place` for a key that is missing or asks for what we do not have."""
        raise NotImplementedError

    def names(self, model: Any) -> Names:
        """For each of the model's parameters, the tensors it is published as."""
        raise NotImplementedError

    def published(self, model: Any, ours: str, value: Tensor) -> Tensor:
        """One of our tensors (or the piece that has a name of its own) as it is laid out there; the same where it is."""
        return value

    def taken(self, model: Any, ours: str, value: Tensor) -> Tensor:
        """The inverse of `published`."""
        return value

    def write(self, model: nn.Module, folder: Path) -> dict[str, Any]:
        """Writes the weights; returns the config."""
        given: Any = model
        ending = given.ending if isinstance(model, Headed) else ""
        backbone: Any = given.backbone if ending else model
        names = self.headed_names(self.names(backbone), ending) if ending else self.names(backbone)
        values = dict(backbone.named_parameters())
        tensors = {}
        for ours, theirs in names.items():
            value = values[ours].detach().cpu()
            for name, part in zip(theirs, value.split(sizes(values[ours], theirs)), strict=True):
                tensors[name] = self.published(backbone, ours, part).contiguous()
        if ending:
            own = {f"{self.layer(ending)}.{kind}": value for kind, value in given.head.named_parameters()}
            tensors |= {name: value.detach().cpu().contiguous() for name, value in (own | given.beside()).items()}
        write_tensors(folder, tensors)
        return {"architectures": [self.called(ending) if ending else self.architecture(backbone)], **self.config(backbone)}

    def read(self, folder: Path, config: dict[str, Any]) -> nn.Module:
        """The model of a directory, in float32. DataError lists the tensors that are missing, unexpected or of another
        shape than config.json says."""
        place = str(folder / "config.json" if folder.is_dir() else folder)
        architecture = (config.get("architectures") or [self.causal])[0]
        if architecture not in self.architectures():
            raise DataError(place, text("one of {choices}", choices=", ".join(self.architectures())), architecture)
        ending = next((ending for ending in MADE if architecture == self.called(ending)), "")
        found = read_tensors(folder)
        plausible(config, found, place)
        with torch.device("meta"):
            described = sum(parameter.numel() for parameter in self.build(config, place, head=not ending).parameters())
        held(described, found, place)
        model: Any = self.build(config, place, head=not ending)
        backbone = model
        names = self.names(model)
        if ending:
            model = self._headed(backbone, config, ending, place)
            names = {f"backbone.{ours}": theirs for ours, theirs in self.headed_names(names, ending).items()}
            names |= {f"{model.layer}.{kind}": (f"{self.layer(ending)}.{kind}",) for kind, _ in model.head.named_parameters()}
            names |= {name: (name,) for name in model.beside()}
        if self.prefix and not any(name.startswith(self.prefix) for name in found):
            names = {ours: tuple(name.removeprefix(self.prefix) for name in theirs) for ours, theirs in names.items()}
        fill(model, found, names, str(folder), self.ignored(names), self, backbone)
        if self.fixed is not None:
            backbone.published_as = self.model_type
        return model

    def _headed(self, backbone: LanguageModel, config: dict[str, Any], ending: str, place: str) -> Headed:
        """The empty model with that head, of as many labels as config.json has."""
        if ending == Reader.ending:
            return Reader(backbone)
        labels = len(config.get("id2label") or {}) or int(config.get("num_labels", 0))
        if not labels:
            raise DataError(place, text("a '{key}'", key="id2label"), text("none"))
        if ending == Tagger.ending:
            return Tagger(backbone, labels)
        if ending == ChainTagger.ending:
            return ChainTagger(backbone, numbered(config, f"{place}: id2label"))
        several = config.get("problem_type") == MultiClassifier.problem
        return (MultiClassifier if several else Classifier)(backbone, labels)

    def ignored(self, names: Names) -> frozenset[str]:
        """Tensors that other programs write beside those that are needed: copies."""
        return frozenset()


def numbered(config: dict[str, Any], where: str) -> list[str]:
    """A config's labels, in the order of the scores. DataError at `where` for what does not number them."""
    named = config.get("id2label") or {}
    found: list[Any] = [named.get(str(number)) for number in range(len(named))]
    if not all(isinstance(label, str) for label in found):
        raise DataError(where, text("labels numbered from 0 to {last}", last=len(named) - 1), str(named)[:80])
    return found


@torch.no_grad()
def fill(model: nn.Module, found: Mapping[str, Tensor], names: Names, where: str, ignored: frozenset[str], family: Family,
         backbone: Any) -> None:  # fmt: skip
    """Copies published tensors into the model's parameters, each exactly once; else DataError with the difference."""
    missing, wrong, numbers = [], [], []
    for ours, parameter in model.named_parameters():
        theirs = names[ours]
        absent = [name for name in theirs if name not in found]
        missing += absent
        if absent:
            continue
        for name, target in zip(theirs, parameter.split(sizes(parameter, theirs)), strict=True):
            own = ours.removeprefix("backbone.")
            value, expected = found[name], family.published(backbone, own, target).shape
            if value.shape != expected:
                wrong.append(f"{name} {tuple(value.shape)} ≠ {tuple(expected)}")
            elif not value.is_floating_point():
                numbers.append(f"{name} {value.dtype}".replace("torch.", ""))
            else:
                target.copy_(family.taken(backbone, own, value))
    unexpected = sorted(set(found) - {name for theirs in names.values() for name in theirs} - ignored)
    clauses: list[Text] = []
    if missing:
        clauses.append(text("missing: {names}", names=_some(missing)))
    if unexpected:
        clauses.append(text("unexpected: {names}", names=_some(unexpected)))
    if wrong:
        clauses.append(text("of another shape: {names}", names=_some(wrong)))
    if numbers:
        clauses.append(text("no floating-point numbers: {names}", names=_some(numbers)))
    if clauses:
        given = text("{clauses}", clauses="; ".join(map(str, clauses)))
        raise DataError(where, text("the tensors that config.json describes"), given)


def sizes(parameter: Tensor, theirs: tuple[str, ...]) -> tuple[int, ...]:
    """The rows of `parameter` that each of their tensors has."""
    return (parameter.shape[0],) if len(theirs) == 1 else parameter.pieces  # type: ignore[attr-defined]


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" … ({len(names)})" if len(names) > shown else "")


def _at(settings: Any, key: str) -> Any:
    """A dotted key's value; None where there is no such key."""
    for name in key.split("."):
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def needs(config: dict[str, Any], place: str, *keys: str) -> None:
    """DataError for the first of `keys` that config.json lacks."""
    for key in keys:
        if config.get(key) is None:
            raise DataError(place, text("a '{key}'", key=key), text("none"))


def refuse(config: dict[str, Any], place: str, known: dict[str, tuple[Any, ...]]) -> None:
    """DataError where a key has another value than those that our module computes; ignoring it would change logits."""
    for key, values in known.items():
        if config.get(key, values[0]) not in values:
            raise DataError(f"{place}: {key}", text("one of {choices}", choices=", ".join(map(str, values))),
                            str(config[key]), text("this setting is not supported"))  # fmt: skip
