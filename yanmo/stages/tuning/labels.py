"""Scores for labels of which any number holds: as `classify`, each label for itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from yanmo.core.data import Example
from yanmo.inference.likelihood import device_of
from yanmo.models.classifier import MultiClassifier
from yanmo.objectives.base import Objective
from yanmo.stages.tuning.classify import BATCH, ClassifyTuning
from yanmo.stages.tuning.tuning import Tuning
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer


class LabelsTuning(ClassifyTuning):
    """Texts to any number of labels."""

    objective = "multi_label"

    def build(self, backbone: LanguageModel, task: Any, rng: torch.Generator, objective: Any = None) -> MultiClassifier:
        model = MultiClassifier(backbone, len(self.names(task)))
        model.initialise(rng)
        return model

    def validate(self, model: torch.nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        """The task's metric, and the mean cross-entropy of a label."""
        rows, _ = self.rows(task, examples, tokenizer, length)
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i].tokens), i))

        @torch.no_grad()
        def validate() -> Verdict:
            pairs: list[tuple[Example, Any]] = []
            nats = 0.0
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                made = objective.collate([rows[i] for i in chosen], torch.Generator()).to(device_of(model))
                scores = model(made.inputs).float()
                assert made.labels is not None
                nats += float(F.binary_cross_entropy_with_logits(scores, made.labels, reduction="none").mean(-1).sum())
                pairs += [(examples[i], task.decode(p, examples[i])) for i, p in zip(chosen, scores.sigmoid().cpu().numpy())]
            value, loss = float(task.score(pairs)[task.metric]), nats / len(order)
            return Verdict((-value, loss), {task.metric: value, "loss": loss})

        return validate

    def fit(self, folder: Path, part: Any, task: Any) -> dict[str, str]:
        return Tuning.fit(self, folder, part, task)
