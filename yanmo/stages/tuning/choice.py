"""The right one of some choices: the language model itself, trained on the right choice behind its question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core.data import Example, Row
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.evaluate.choosing import choose
from yanmo.models.base import Loaded
from yanmo.objectives.base import Objective
from yanmo.stages.tuning.text import TextTuning
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Trained:
    """A model that is being trained, as one that is asked."""

    loaded: Loaded


class ChoiceTuning(TextTuning):
    """Questions to the right choice."""

    def bind(self, objective: Objective, task: Any, tokenizer: Tokenizer, backbone: LanguageModel) -> Objective:
        if task.chat and not tokenizer.chat_template:
            raise DataError("task.chat", text("a tokenizer with a chat template"), text("none"))
        return super().bind(objective, task, tokenizer, backbone)

    def rows(self, task: Any, examples: list[Example], tokenizer: Tokenizer, length: int) -> tuple[list[Row], list[int]]:
        if not examples:
            raise DataError("task.path", text("training questions (a single path is test data)"), text("none"),
                            text("give them as {example}", example="path: {train: …}"))  # fmt: skip
        return super().rows(task, examples, tokenizer, length)

    def validate(self, model: torch.nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        """How often the likeliest choice is the right one, as the task is evaluated, and the surprise of a right one's token."""
        surprise = super().validate(model, objective, task, examples, tokenizer, length)
        asked = Trained(Loaded(model, tokenizer, {}, Path()))
        posed = task.pose(examples)

        def validate() -> Verdict:
            found = choose(asked, posed, task.normalize, task.chat)
            pairs = [(example, task.decode(one.values, example)) for example, one in zip(examples, found)]
            value, plain = float(task.score(pairs)[task.metric]), surprise()
            return Verdict((-value, *plain.rank), {task.metric: value, **plain.figures})

        return validate
