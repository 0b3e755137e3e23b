"""What fine-tuning must know of a task's head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from yanmo.core.data import Example, Row
from yanmo.core.errors import RequestError
from yanmo.core.messages import Text, text
from yanmo.core.registry import lookup, names
from yanmo.objectives.base import Context, Objective
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer

WHOLE = 1 << 40  # tokens: no text is as long


class Tuning:
    """How a model is made for the tasks of one head."""

    objective: ClassVar[str]  # what trains it, where the recipe names nothing

    def names(self, task: Any) -> list[str]:
        """The labels that are saved with the model, in the order of its scores."""
        return []

    def bind(self, objective: Objective, task: Any, tokenizer: Tokenizer, backbone: LanguageModel) -> Objective:
        """The objective with what it must know before training."""
        return objective.bind(Context(tokenizer, self.names(task)))

    def build(self, backbone: LanguageModel, task: Any, rng: torch.Generator, objective: Any = None) -> nn.Module:
        """The module to train, by this objective where that says what is in it."""
        raise NotImplementedError

    def rows(self, task: Any, examples: list[Example], tokenizer: Tokenizer, length: int) -> tuple[list[Row], list[int]]:
        """The rows of all examples, of at most `length` tokens each, and how many tokens each has when it is not cut."""
        rows, lengths = [], []
        for example in examples:
            whole = task.encode(example, tokenizer, WHOLE)
            made = whole if all(len(row.tokens) <= length for row in whole) else task.encode(example, tokenizer, length)
            rows += made
            lengths += [len(row.tokens) for row in (whole if len(whole) == len(made) else made)]
        return rows, lengths

    def validate(self, model: nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        """How good the model is on held-out examples: the task's own metric where it is cheap."""
        raise NotImplementedError

    def fit(self, folder: Path, part: Any, task: Any) -> dict[str, str]:
        """A baseline, fitted on the training rows and saved."""
        from yanmo.models.store import save

        save(folder / "model", part.fit_task(task), None)
        return {"model": "model"}

    def kept(self, model: Any) -> Any:
        """What is saved of the trained module."""
        return model

    def beside(self, task: Any, tokenizer: Tokenizer, folder: Path) -> None:
        """Writes what stands in the saved model's folder beside the model."""

    def extra(self, task: Any, model: Any, tokenizer: Tokenizer, held_out: list[Example], length: int,
              log: Callable[[Text], None]) -> dict[str, Any] | None:  # fmt: skip
        """What is kept under `yanmo` in the trained model's config.json; what the model itself has to be asked for it is asked on
        held-out examples."""
        return None


def tuning_of(task: Any) -> Tuning:
    """How models are made for the task; RequestError where it asks for nothing that is trained."""
    if task.head not in names("tuning"):
        heads = ", ".join(names("tuning"))
        raise RequestError("finetune.task", text("a task with a head of {names}", names=heads), str(task.type))
    return lookup("tuning", task.head)()
