"""A vector for a text: the language model itself, taught by pairs of texts that belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from yanmo.core.data import Example, Row
from yanmo.inference.places import scores
from yanmo.models.embedder import Embedder
from yanmo.objectives.base import Objective
from yanmo.stages.tuning.tuning import WHOLE, Tuning
from yanmo.tasks.embedding import ranked
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.models.base import LanguageModel
    from yanmo.text.tokenizer import Tokenizer


class EmbedTuning(Tuning):
    """Texts to vectors."""

    objective = "contrastive"

    def build(self, backbone: LanguageModel, task: Any, rng: torch.Generator, objective: Any = None) -> Embedder:
        return Embedder(backbone)

    def kept(self, model: Any) -> Any:
        return model.backbone

    def rows(self, task: Any, examples: list[Example], tokenizer: Tokenizer, length: int) -> tuple[list[Row], list[int]]:
        """One row a pair; as long as the longer of its texts."""
        rows, lengths = [], []
        for example in examples:
            lengths.append(max(len(row.tokens) for row in task.encode(example, tokenizer, WHOLE)))
            first, second = task.encode(example, tokenizer, length)
            rows.append(Row(first.tokens, label=second.tokens, example=example.id))
        return rows, lengths

    def validate(self, model: torch.nn.Module, objective: Objective, task: Any, examples: list[Example], tokenizer: Tokenizer,
                 length: int) -> Callable[[], Verdict]:  # fmt: skip
        """The task's metric among all held-out pairs, and the loss of each text among all of them."""
        rows, _ = self.rows(task, examples, tokenizer, length)
        both = [*rows, *(Row(row.label) for row in rows)]
        contents = [example.fields["second"] for example in examples]
        labels = torch.tensor(np.unique(contents, return_inverse=True)[1])
        sign = -1.0 if task.higher_is_better else 1.0

        def validate() -> Verdict:
            found = torch.tensor(np.stack(scores(model, both, tokenizer.pad_id, each=False)))
            first, second = F.normalize(found[: len(rows)], dim=-1), F.normalize(found[len(rows) :], dim=-1)
            pairs = [(example, task.decode(output, example))
                     for example, output in zip(examples, ranked(first, second, contents))]  # fmt: skip
            judged: Any = objective
            loss = float(judged.judged(first @ second.T, labels).total) / len(rows)
            value = float(task.score(pairs)[task.metric])
            return Verdict((sign * value, loss), {task.metric: value, "loss": loss})

        return validate
