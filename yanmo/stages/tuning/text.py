"""A text for a prompt: the language model itself, trained on the answers alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core.data import Example
from yanmo.core.messages import Text
from yanmo.inference.likelihood import device_of
from yanmo.objectives.base import Context, Objective
from yanmo.stages.tuning.tuning import Tuning
from yanmo.tasks.writing import Choice, WritingTask
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer

TOKENS = 4096  # in one pass, padding included


class TextTuning(Tuning):
    """Prompts to answers."""

    objective = "answer"

    def bind(self, objective: Objective, task: Any, tokenizer: Tokenizer, backbone: LanguageModel) -> Objective:
        return objective.bind(Context(tokenizer, models={"trained": backbone}))

    def build(self, backbone: LanguageModel, task: Any, rng: torch.Generator, objective: Any = None) -> LanguageModel:
        return backbone

    def validate(self, model: torch.nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        """The mean surprise of an answer's token, in nats: what the task's own metric says takes generating to tell."""
        rows, _ = self.rows(task, examples, tokenizer, length)
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].tokens), i))
        groups = []
        while order:
            size = max(1, TOKENS // len(rows[order[0]].tokens))
            groups.append([rows[i] for i in order[:size]])
            order = order[size:]

        @torch.no_grad()
        def validate() -> Verdict:
            total = weight = 0.0
            for some in groups:
                loss = objective.loss(model, objective.collate(some, torch.Generator()).to(device_of(model)))
                total, weight = total + float(loss.total), weight + float(loss.weight)
            mean = total / max(weight, 1.0)
            return Verdict((mean,), {"loss": mean, "perplexity": math.exp(min(mean, 700.0))})

        return validate

    def beside(self, task: Any, tokenizer: Tokenizer, folder: Path) -> None:
        """The training pairs, and which words of an answer explain which of its text, where answers are chosen by them."""
        from yanmo.models import nearest
        from yanmo.models.channel import Channel

        choice = task.choice if isinstance(task, WritingTask) else Choice()
        if choice != Choice():
            learned = [piece for example in task.load("train") for piece in task.learned(example)]
            pairs = list(dict.fromkeys((piece.fields["text"], task.answer(piece)) for piece in learned))
            if choice.channel:
                Channel.fit(tokenizer, pairs).save(folder)
            if choice.memory:
                nearest.save(folder, pairs)

    def extra(self, task: Any, model: Any, tokenizer: Tokenizer, held_out: list[Example], length: int,
              log: Callable[[Text], None]) -> dict[str, Any] | None:  # fmt: skip
        """How the model was made before, where that says how it is read."""
        made_by = getattr(model, "made_by", None)
        return None if made_by is None else {"objective": made_by}
