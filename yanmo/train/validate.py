"""How good the model is now, on what it does not train on: the `validate` that the loop is handed.

Language models: bits per byte of whole held-out documents, by the same code as the evaluation. Classifiers: the task's
own metric, ties decided by the mean loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from yanmo.core.data import Example, Row
from yanmo.corpus.order import RowOrder
from yanmo.corpus.tokens import Split
from yanmo.inference.likelihood import device_of, score_tokens
from yanmo.models.base import LanguageModel
from yanmo.objectives.base import Objective
from yanmo.tasks.base import Task
from yanmo.tasks.language_modeling import bits_per_byte, perplexity
from yanmo.train.loop import Verdict


def documents_of(split: Split, tokens: int) -> list[int]:
    """Documents spread over the split, about `tokens` tokens of them, at least one; in the split's order."""
    counts = split.documents["count"]
    order = RowOrder(len(counts), 0).rows(0, np.arange(len(counts)))
    total = np.cumsum(counts[order])
    return sorted(order[: int(np.searchsorted(total, tokens)) + 1].tolist())


def language_validation(model: LanguageModel, split: Split, tokens: int) -> Callable[[], Verdict]:
    """Bits per byte and perplexity over about `tokens` tokens of the split's documents, the same ones every time."""
    chosen = documents_of(split, tokens)
    first, count, size = (split.documents[name][chosen] for name in ("first", "count", "bytes"))
    texts = [np.asarray(split.tokens[start : start + length]) for start, length in zip(first, count)]

    def validate() -> Verdict:
        nats = float(score_tokens(model, texts).sum())
        bits = bits_per_byte(nats, float(size.sum()))
        return Verdict((bits,), {"bits_per_byte": bits, "perplexity": perplexity(nats, float((count - 1).sum()))})

    return validate


def label_validation(model: torch.nn.Module, objective: Objective, task: Task, examples: list[Example], rows: list[Row],
                     batch: int) -> Callable[[], Verdict]:  # fmt: skip
    """The task's metric over `examples`, encoded as `rows` (one each), and the mean cross-entropy."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].tokens), i))
    sign = -1.0 if task.higher_is_better else 1.0

    def validate() -> Verdict:
        pairs: list[tuple[Example, Any]] = []
        nats = 0.0
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            made = objective.collate([rows[i] for i in chosen], torch.Generator()).to(device_of(model))
            scores = model(made.inputs).float()
            assert made.labels is not None
            nats += float(F.cross_entropy(scores, made.labels, reduction="sum"))
            pairs += [(examples[i], task.decode(p, examples[i])) for i, p in zip(chosen, scores.softmax(-1).cpu().numpy())]
        value, loss = float(task.score(pairs)[task.metric]), nats / len(order)
        return Verdict((sign * value, loss), {task.metric: value, "loss": loss})

    return validate
