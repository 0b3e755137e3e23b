"""The ends of an answer: a linear layer gives each token two scores, of being the first and of being the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core.data import Example, Row
from yanmo.models.reader import Reader
from yanmo.objectives.base import Objective
from yanmo.stages.tuning.passes import scored
from yanmo.stages.tuning.tuning import Tuning
from yanmo.tasks.spans import best_spans
from yanmo.text.windows import windows
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer


class SpanTuning(Tuning):
    """Questions about a text to the places of their answers."""

    objective = "extraction"

    def build(self, backbone: LanguageModel, task: Any, rng: torch.Generator) -> Reader:
        model = Reader(backbone)
        model.initialise(rng)
        return model

    def rows(self, task: Any, examples: list[Example], tokenizer: Tokenizer, length: int) -> tuple[list[Row], list[int]]:
        """The windows of each text behind its question. Texts are never cut; a question that takes more than half of a row is,
        and its windows are counted as longer by what it lost."""
        rows, lengths = [], []
        for example in examples:
            made = task.studied(example, tokenizer, length)
            cut = windows("", tokenizer, length, before=example.fields["question"])[0].cut
            rows += made
            lengths += [len(row.tokens) if not cut else length + cut for row in made]
        return rows, lengths

    def validate(self, model: torch.nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        """The task's metric, and the mean cross-entropy of an end."""
        encoded = [task.encode(example, tokenizer, length) for example in examples]
        read = [task.windows(example, tokenizer, length) for example in examples]
        sign = -1.0 if task.higher_is_better else 1.0

        def validate() -> Verdict:
            scores, loss = scored(model, objective, [row for rows in encoded for row in rows])
            found, pairs = iter(scores), []
            for example, some in zip(examples, read):
                spots = best_spans(some, [next(found) for _ in some], task.answer_tokens, task.best)
                pairs.append((example, task.decode(spots, example)))
            value = float(task.score(pairs)[task.metric])
            return Verdict((sign * value, loss), {task.metric: value, "loss": loss})

        return validate

    def extra(self, task: Any, backbone: Any) -> dict[str, Any] | None:
        """Whether it was taught that a question may have no answer, and how long one may be."""
        return {"answers": {"none": task.unanswerable, "threshold": task.threshold, "tokens": task.answer_tokens}}
