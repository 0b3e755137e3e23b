"""A score for each label of the whole text: a linear layer on what the model has for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core.data import Example
from yanmo.models.classifier import Classifier
from yanmo.objectives.base import Context, Objective
from yanmo.stages.tuning.tuning import Tuning
from yanmo.tasks.labelled import inputs, labels_of
from yanmo.train.job import Verdict
from yanmo.train.validate import label_validation

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer

BATCH = 64  # rows validated at once


class ClassifyTuning(Tuning):
    """Texts to one label each."""

    objective = "supervised"

    def names(self, task: Any) -> list[str]:
        return task.names()

    def bind(self, objective: Objective, task: Any, tokenizer: Tokenizer, backbone: LanguageModel) -> Objective:
        """With the training rows of each label, for those that weigh them."""
        counts = Counter(label for example in task.load("train") for label in labels_of(example))
        return objective.bind(Context(tokenizer, self.names(task), counts=[counts[name] for name in self.names(task)]))

    def build(self, backbone: LanguageModel, task: Any, rng: torch.Generator, objective: Any = None) -> Classifier:
        model = Classifier(backbone, len(self.names(task)))
        model.initialise(rng)
        return model

    def validate(self, model: torch.nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        rows, _ = self.rows(task, examples, tokenizer, length)
        return label_validation(model, objective, task, examples, rows, BATCH)

    def fit(self, folder: Path, part: Any, task: Any) -> dict[str, str]:
        from yanmo.models.store import save

        if hasattr(part, "fit_task"):
            return super().fit(folder, part, task)
        examples = task.load("train")
        texts, labels = [inputs(example.fields) for example in examples], [example.fields["label"] for example in examples]
        model = part.fit_texts(texts, labels, task.names())
        save(folder / "model", model, None, labels=task.names())
        return {"model": "model"}
