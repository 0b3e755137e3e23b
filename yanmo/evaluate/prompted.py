"""Labels from models that write: each text is put to the model by a prompt, and the likeliest label is its answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from yanmo.core.data import Example
from yanmo.core.messages import Text
from yanmo.evaluate.choosing import choose, unable, written
from yanmo.evaluate.measure import EXCERPT, Answer, digits
from yanmo.tasks.likelihoods import shares

if TYPE_CHECKING:
    from yanmo.inference.model import Model
    from yanmo.tasks.classify import Classify


def unfit(model: Model, task: Classify) -> Text | None:
    """Why the model cannot be asked, or None; RequestError where the prompt's settings do not suit the task."""
    assert task.prompt is not None
    task.prompt.spoken(task.names())
    return unable(model, task.prompt.chat)


def answer(model: Model, task: Classify, examples: list[Example]) -> list[Answer]:
    """Lines as of a model with labels: the score is the label's share among all labels' likelihoods; `by` is 'prompt'."""
    assert task.prompt is not None
    names, lines = task.names(), []
    posed = task.prompt.pose(examples, names, task.load("train") if task.prompt.shots else [])
    for example, found in zip(examples, choose(model, posed, task.prompt.normalize, task.prompt.chat)):
        parts = shares(found.values)
        score = max(parts) if all(map(math.isfinite, parts)) else None
        second = example.fields.get("second")
        lines.append({
            "id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
            "group": example.fields.get("group") or "", "label": example.fields["label"],
            "predicted": None if found.winner is None else names[found.winner],
            "score": None if score is None else round(score, 6),
            **({} if score is None else {"scores": dict(zip(names, map(digits, parts)))}),
            **({} if second is None else {"second": second[:EXCERPT]}), "by": "prompt", **written(found),
        })  # fmt: skip
    return lines
