"""A tag for each token: a linear layer on the hidden state of each, trained on the tokens that count, and with `crf` the
transitions from tag to tag on top of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core.data import Example, Row
from yanmo.inference.places import pieces, probabilities
from yanmo.models.tagger import ChainTagger, Tagger
from yanmo.objectives.base import Objective
from yanmo.stages.tuning.passes import scored
from yanmo.stages.tuning.tuning import Tuning
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer


class TagTuning(Tuning):
    """Tokens to one tag each."""

    objective = "tagging"

    def names(self, task: Any) -> list[str]:
        return task.names()

    def build(self, backbone: LanguageModel, task: Any, rng: torch.Generator, objective: Any = None) -> Tagger:
        names = self.names(task)
        model = ChainTagger(backbone, names) if getattr(objective, "crf", False) else Tagger(backbone, len(names))
        model.initialise(rng)
        return model

    def rows(self, task: Any, examples: list[Example], tokenizer: Tokenizer, length: int) -> tuple[list[Row], list[int]]:
        """The windows of each text: nothing is cut."""
        rows = [row for example in examples for row in task.encode(example, tokenizer, length)]
        return rows, [len(row.tokens) for row in rows]

    def validate(self, model: torch.nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        """The task's metric, and the mean cross-entropy of a tag."""
        windows = [task.encode(example, tokenizer, length) for example in examples]
        sign = -1.0 if task.higher_is_better else 1.0

        def validate() -> Verdict:
            scores, loss = scored(model, objective, [row for rows in windows for row in rows])
            found, pairs = iter(scores), []
            chain: Any = getattr(model, "chain", None)
            weighed = {} if chain is None else {"chain": chain.potentials()}
            for example, rows in zip(examples, windows):
                given = [next(found) if weighed else probabilities(next(found)) for _ in rows]
                counted = [row.trained or [True] * len(row.tokens) for row in rows]
                outputs = pieces([row.places or [] for row in rows], counted, given)
                pairs.append((example, task.decode(outputs, example, **weighed)))
            value = float(task.score(pairs)[task.metric])
            return Verdict((sign * value, loss), {task.metric: value, "loss": loss})

        return validate
