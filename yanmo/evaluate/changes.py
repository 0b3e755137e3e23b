"""What further training changed: each model beside the one that it was made of, on the same items.

A difference on the same items is much surer than the two figures, so it is what forgetting is judged by: of general text, a
model that was trained on a field's own may have lost a little, and the interval says whether that is more than chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yanmo.evaluate import measure
from yanmo.evaluate.measure import Answer, Figure

Json = dict[str, Any]


def changes(answers: Mapping[str, list[Answer]], origins: Mapping[str, str], head: str, labels: list[str] | None) -> list[Json]:
    """[{model, from, metric, group?, before, after, difference: {value, low, high}, n}] for each model whose origin has answered
    too; `labels`: those of a task that labels, or of pairs; None for likelihoods."""
    keys = ("group",) if head == "classify" else ("language", "source") if labels is None else ("language", "group")
    rows = []
    for model, origin in origins.items():
        if model not in answers or origin not in answers:
            continue
        if [answer["id"] for answer in answers[model]] != [answer["id"] for answer in answers[origin]]:
            continue  # answers of another run, kept from before
        pair = _figures(answers[origin], answers[model], labels)
        if pair is None:
            continue
        metric, before, after = pair
        for group, items in measure.grouped(answers[model], keys).items():
            one, other = before.of(items), after.of(items)
            gap = measure.minus(other, one)
            low, high = gap.bounds() or (float("nan"), float("nan"))
            named = (("value", gap.value), ("low", low), ("high", high))
            rows.append({"model": model, "from": origin, "metric": metric, **({"group": group} if group else {}),
                         "before": measure.rounded(one.value), "after": measure.rounded(other.value),
                         "difference": {name: measure.rounded(value) for name, value in named}, "n": len(items)})  # fmt: skip
    return rows


def _figures(before: list[Answer], after: list[Answer], labels: list[str] | None) -> tuple[str, Figure, Figure] | None:
    """The metric and both figures; None where the two are of different kinds."""
    if labels is not None:
        return "accuracy", measure.accuracy(before, labels), measure.accuracy(after, labels)
    pseudo = measure.pseudo(before)
    if pseudo != measure.pseudo(after):
        return None
    return ("pseudo_" if pseudo else "") + "bits_per_byte", measure.bits_per_byte(before), measure.bits_per_byte(after)
