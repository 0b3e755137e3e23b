"""What further training changed: each model beside the one that it was made of, on the same items.

A difference on the same items is much surer than the two figures, so it is what forgetting is judged by: of general text, a
model that was trained on a field's own may have lost a little, and the interval says whether that is more than chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yanmo.evaluate import measure
from yanmo.evaluate.head import head_of
from yanmo.evaluate.measure import Answer
from yanmo.tasks.base import Task

Json = dict[str, Any]


def changes(answers: Mapping[str, list[Answer]], origins: Mapping[str, str], task: Task) -> list[Json]:
    """[{model, from, metric, group?, before, after, difference: {value, low, high}, n}] for each model whose origin has answered
    the task too."""
    head = head_of(task)
    rows = []
    for model, origin in origins.items():
        if model not in answers or origin not in answers:
            continue
        if [answer["id"] for answer in answers[model]] != [answer["id"] for answer in answers[origin]]:
            continue  # answers of another run, kept from before
        (metric, before), (other_metric, after) = (head.change(task, answers[name]) for name in (origin, model))
        if metric != other_metric:
            continue  # figures of different kinds
        for group, items in measure.grouped(answers[model], head.keys).items():
            one, other = before.of(items), after.of(items)
            gap = measure.minus(other, one)
            low, high = gap.bounds() or (float("nan"), float("nan"))
            named = (("value", gap.value), ("low", low), ("high", high))
            rows.append({"model": model, "from": origin, "metric": metric, **({"group": group} if group else {}),
                         "before": measure.rounded(one.value), "after": measure.rounded(other.value),
                         "difference": {name: measure.rounded(value) for name, value in named}, "n": len(items)})  # fmt: skip
    return rows
