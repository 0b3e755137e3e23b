"""How good the model is now, on what it does not train on: the `validate` that the loop is handed.

Language models: bits per byte of the beginnings of held-out documents, by the same code as the evaluation, which reads
them whole; those that read a text from both sides, the loss they are trained with. Classifiers: the task's own metric,
ties decided by the mean loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
from yanmo.train.job import Verdict

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

EXCERPT = 1024  # tokens of a document: long ones would be all of a small validation


def excerpts(split: Split, tokens: int) -> list[np.ndarray]:
    """The beginnings of documents spread over the split, border first, about `tokens` tokens together; at least one."""
    first, count = split.documents["first"], split.documents["count"]
    order = RowOrder(len(count), 0).rows(0, np.arange(len(count)))
    total = np.cumsum(np.minimum(count[order], EXCERPT))
    chosen = sorted(order[: int(np.searchsorted(total, tokens)) + 1].tolist())
    return [np.asarray(split.tokens[first[i] : first[i] + min(count[i], EXCERPT)]) for i in chosen]


def language_validation(model: LanguageModel, tokenizer: Tokenizer, split: Split, tokens: int) -> Callable[[], Verdict]:
    """Bits per byte and perplexity over about `tokens` tokens of held-out documents, the same ones every time."""
    texts = excerpts(split, tokens)
    size = sum(tokenizer.bytes_of(ids) for ids in texts)
    targets = sum(len(ids) - 1 for ids in texts)

    def validate() -> Verdict:
        nats = float(score_tokens(model, texts).sum())
        bits = bits_per_byte(nats, size)
        return Verdict((bits,), {"bits_per_byte": bits, "perplexity": perplexity(nats, targets)})

    return validate


def objective_validation(model: torch.nn.Module, objective: Objective, split: Split, context: int, rows: int,
                         tokens: int) -> Callable[[], Verdict]:  # fmt: skip
    """The objective's own mean loss over about `tokens` tokens of held-out rows, damaged in the same way every time: for
    models that give no text a probability."""
    from yanmo.train.batches import TokenBatches

    batches = TokenBatches(split, objective, context, rows, rows, 0)
    steps = max(1, min(-(-batches.count // rows), round(tokens / (rows * context))))

    @torch.no_grad()
    def validate() -> Verdict:
        rng, cursor = torch.Generator().manual_seed(0), (0, 0)
        total = weight = 0.0
        sums: dict[str, tuple[float, float]] = {}
        for _ in range(steps):
            (batch,), cursor = batches.take(cursor, rng)
            loss = objective.loss(model, batch.to(device_of(model)))
            total, weight = total + float(loss.total), weight + float(loss.weight)
            for name, (amount, count) in loss.metrics.items():
                before = sums.get(name, (0.0, 0.0))
                sums[name] = (before[0] + float(amount), before[1] + float(count))
        shares = {name: amount / count for name, (amount, count) in sums.items() if count}
        return Verdict((total / weight,), {"loss": total / weight, **shares})

    return validate


def label_validation(model: torch.nn.Module, objective: Objective, task: Task, examples: list[Example], rows: list[Row],
                     batch: int) -> Callable[[], Verdict]:  # fmt: skip
    """The task's metric over `examples`, encoded as `rows` (one each), and the mean cross-entropy."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].tokens), i))
    sign = -1.0 if task.higher_is_better else 1.0

    @torch.no_grad()
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
