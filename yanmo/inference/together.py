"""Several models that answer together, as one `Model`: an ensemble, or samples of one model's posterior.

Labels: each member reads the text with its own tokenizer and gives its probabilities; the answer is their mean. Text: the mean
of the next token's probabilities, for members of one tokenizer (`models/ensemble.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yanmo.core.errors import RequestError
from yanmo.core.messages import Text, text
from yanmo.inference.model import Model, classifies
from yanmo.models import posterior
from yanmo.models.base import LanguageModel, Loaded, TextClassifier
from yanmo.models.ensemble import Ensemble

LABELS = Path("labels")  # under which what labels is kept

class Together(Model):
    """`members`: models (runs, or directories). Each method takes of every member what that member would take."""

    def __init__(self, members: Sequence[Model], where: str):
        super().__init__([folder for member in members for folder in member.folders], where, members[0].device)
        self.members = list(members)

    @property
    def loaded(self) -> Loaded:
        """Labels where the last model of every member labels texts, else text."""
        if all(classifies(member.loaded) for member in self.members):
            return self._labelling()
        return self._writing([member._able(writes, text("give texts a probability")) for member in self.members])

    def _able(self, ability: Callable[[Loaded], bool], what: Text) -> Loaded:
        found = [member._able(ability, what) for member in self.members]
        joined = self._labelling() if all(map(classifies, found)) else self._writing(found)
        if not ability(joined):
            raise RequestError(self.where, text("a model that can {what}", what=what), text("several that answer together"))
        return joined

    def _scorer(self) -> Loaded:
        return self._writing([member._scorer() for member in self.members])

    def _labelling(self) -> Loaded:
        if LABELS not in self._opened:
            model = Labellers(self.members)
            self._opened[LABELS] = Loaded(model, None, {"model_type": "ensemble"}, self.folders[0], model.labels)
        return self._opened[LABELS]

    def _writing(self, found: list[Loaded]) -> Loaded:
        place = Path("+".join(str(loaded.folder) for loaded in found))
        if place not in self._opened:
            self._opened[place] = _joined(found, self.where)
        return self._opened[place]


def writes(loaded: Loaded) -> bool:
    return isinstance(loaded.model, LanguageModel) and not loaded.labels


def _joined(found: list[Loaded], where: str) -> Loaded:
    """One language model of several, with the tokenizer that they share."""
    first = found[0]
    labelled = next((loaded for loaded in found if classifies(loaded)), None)
    if labelled is not None:
        raise RequestError(where, text("models that all label texts, or all give text a probability"), str(labelled.folder))
    for other in found[1:]:
        if (first.tokenizer is None or other.tokenizer is None
                or first.tokenizer.inner.to_str() != other.tokenizer.inner.to_str()):  # fmt: skip
            raise RequestError(where, text("models of one tokenizer"), f"{first.folder}, {other.folder}")
    model = Ensemble([loaded.model for loaded in found]).eval()
    return Loaded(model, first.tokenizer, {**first.config, "model_type": "ensemble"}, first.folder)


class Labellers(TextClassifier):
    """Classifiers that answer together; their labels are the first one's, and each member's scores are put in that order."""

    def __init__(self, members: Sequence[Model]):
        self.members = list(members)
        self.labels = list(members[0]._able(classifies, text("label texts")).labels)
        for member in members[1:]:
            others = member._able(classifies, text("label texts")).labels
            if set(others) != set(self.labels):
                strange = sorted(set(others) ^ set(self.labels))
                raise RequestError(member.where, text("models of the same labels"),
                                   text("not in both: {labels}", labels=", ".join(strange[:6])))  # fmt: skip

    def probabilities(self, texts: list[str]) -> Any:
        total = np.zeros((len(texts), len(self.labels)))
        for member in self.members:
            for row, prediction in enumerate(member.predict(texts)):
                # no scores: something in them is not finite, which the mean must not hide
                total[row] += [prediction.scores.get(label, np.nan) for label in self.labels]
        return total / len(self.members)

    def named_parameters(self) -> Any:
        for index, member in enumerate(self.members):
            named = getattr(member.loaded.model, "named_parameters", None)
            for name, tensor in named() if callable(named) else ():
                yield f"{index}.{name}", tensor

    def parameters(self) -> Any:
        return (tensor for _, tensor in self.named_parameters())


class Drawn(Model):
    """A model whose weights are a sample of another's posterior, the one of this seed."""

    def __init__(self, mean: Model, seed: int):
        super().__init__(mean.folders, mean.where, mean.device, mean.trust_code)
        self._mean, self._seed = mean, seed

    def _load(self, folder: Path) -> Loaded:
        if folder not in self._opened:
            loaded = self._mean._load(folder)
            self._opened[folder] = replace(loaded, model=posterior.sample(loaded, self._seed))
        return self._opened[folder]


def together(models: Sequence[Model], samples: int | None = None) -> Model:
    """The models as one; with `samples`, so many draws from the posterior of each instead of its mean."""
    if samples is not None and samples < 1:
        raise RequestError("samples", text("at least one"), str(samples))
    members = [Drawn(model, seed) for model in models for seed in range(samples)] if samples else list(models)
    return members[0] if len(members) == 1 else Together(members, " + ".join(model.where for model in models))
