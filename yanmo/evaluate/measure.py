"""From what models answered to figures with intervals.

An answer file has one line for each test item. Everything here is computed from those lines alone, so every figure can
be recomputed, split by source or language, or compared between two models item by item, without the models.

Intervals are 95% percentile bootstrap intervals over the items (documents, or labelled examples): what other test data
of the same kind would show. They do not cover other seeds or other training data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yanmo.text.metrics import bootstrap, f1

Answer = dict[str, Any]
PAIR = ("good", "bad")
CELLS = 1 << 22  # of confusion tables that are held at one time
DRAWS = 200_000_000  # items drawn for one interval, about


@dataclass(frozen=True)
class Figure:
    """A metric and the columns it is computed from: `metric` takes arrays (R, N) and gives (R,), for R resamples."""

    metric: Callable[..., np.ndarray]
    columns: tuple[np.ndarray, ...]  # (N,) each

    @property
    def n(self) -> int:
        return len(self.columns[0])

    @property
    def value(self) -> float:
        return float(self.metric(*(column[None] for column in self.columns))[0])

    def of(self, items: Sequence[int]) -> Figure:
        return Figure(self.metric, tuple(column[list(items)] for column in self.columns))

    def bounds(self) -> tuple[float, float] | None:
        """The 95% interval; None for a single item, or a figure that is not finite: there is nothing to vary."""
        if self.n < 2 or not math.isfinite(self.value):
            return None
        resamples = max(min(2000, DRAWS // self.n), 200)  # many items: a narrow interval, which needs fewer
        found = bootstrap.interval(self.metric, *self.columns, resamples=resamples)
        return (found.low, found.high)


def minus(first: Figure, second: Figure) -> Figure:
    """The difference on the same items. Its interval is much narrower than the two figures' own, because what makes an item
    hard for one model mostly makes it hard for the other."""
    split = len(first.columns)
    return Figure(lambda *arrays: first.metric(*arrays[:split]) - second.metric(*arrays[split:]), first.columns + second.columns)


def result(
    model: str, task: str, metric: str, value: float, bounds: tuple[float, float] | None, n: int, group: str | None = None
) -> dict[str, Any]:
    """One line of results.json; low and high are null where there is no interval."""
    low, high = bounds if bounds is not None else (math.nan, math.nan)
    figures = {"value": rounded(value), "low": rounded(low), "high": rounded(high), "n": n}
    return {"model": model, "task": task, "metric": metric, **figures, **({"group": group} if group else {})}


def rounded(value: float) -> float | None:
    """Six decimals; a figure that does not exist is null, never NaN (which is not JSON)."""
    return round(value, 6) if math.isfinite(value) else None


def grouped(answers: Sequence[Answer], keys: Iterable[str]) -> dict[str | None, list[int]]:
    """None → all items; 'language=zh' → those. A key whose value is the same for all items makes no group."""
    found: dict[str | None, list[int]] = {None: list(range(len(answers)))}
    for key in keys:
        places: dict[str, list[int]] = {}
        for index, answer in enumerate(answers):
            places.setdefault(str(answer.get(key) or ""), []).append(index)
        for value in sorted(places) if len(places) > 1 else []:
            if value:
                found[value if key == "group" else f"{key}={value}"] = places[value]
    return found


# ---------------------------------------------------------------------------------------------- language modelling


def pseudo(answers: Sequence[Answer]) -> bool:
    """Whether a masked model gave them: pseudo-likelihoods, which are no probabilities and never stand among those."""
    return any(answer.get("by") == "pseudo-likelihood" for answer in answers)


def language_results(model: str, task: str, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """bits_per_byte and perplexity (of a masked model pseudo_bits_per_byte and pseudo_perplexity), over all documents, by
    language and by source. Answers: nats, tokens, bytes."""
    kind = "pseudo_" if pseudo(answers) else ""
    figures = {f"{kind}bits_per_byte": bits_per_byte(answers), f"{kind}perplexity": perplexity(answers)}
    rows = []
    for group, items in grouped(answers, ("language", "source")).items():
        for metric, whole in figures.items():
            part = whole.of(items)
            rows.append(result(model, task, metric, part.value, part.bounds(), len(items), group))
    return rows


def bits_per_byte(answers: Sequence[Answer]) -> Figure:
    """A ratio of sums: a long document weighs as much as its bytes, as in the whole text."""
    return Figure(lambda nats, size: _mean(nats, size) / math.log(2), (_column(answers, "nats"), _column(answers, "bytes")))


def perplexity(answers: Sequence[Answer]) -> Figure:
    """Per token of the model's own tokenizer: not comparable between tokenizers."""
    return Figure(lambda nats, tokens: np.exp(np.minimum(_mean(nats, tokens), 700)),
                  (_column(answers, "nats"), _column(answers, "tokens")))  # fmt: skip


def _mean(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    total = below.sum(-1)
    return np.divide(above.sum(-1), total, out=np.full(total.shape, math.nan), where=total != 0)


def _column(answers: Sequence[Answer], name: str) -> np.ndarray:
    return np.array([math.nan if answer[name] is None else answer[name] for answer in answers], dtype=np.float64)


# ---------------------------------------------------------------------------------------------- minimal pairs


def pair_results(model: str, task: str, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """accuracy over all pairs, by language and by group. Answers: label, predicted (null: no decision, which is wrong)."""
    whole = accuracy(answers, PAIR)
    rows = []
    for group, items in grouped(answers, ("language", "group")).items():
        part = whole.of(items)
        rows.append(result(model, task, "accuracy", part.value, part.bounds(), len(items), group))
    return rows


# ---------------------------------------------------------------------------------------------- classification


def classify_results(model: str, task: str, answers: Sequence[Answer], names: Sequence[str]) -> list[dict[str, Any]]:
    """accuracy and macro_f1, over all examples and by group. Answers: label, predicted (null: no decision)."""
    figures = {"accuracy": accuracy(answers, names), "macro_f1": macro_f1(answers, names)}
    rows = []
    for group, items in grouped(answers, ("group",)).items():
        for metric, whole in figures.items():
            part = whole.of(items)
            rows.append(result(model, task, metric, part.value, part.bounds(), len(items), group))
    return rows


def accuracy(answers: Sequence[Answer], names: Sequence[str]) -> Figure:
    return Figure(lambda true, given: (true == given).mean(-1), numbers(answers, names))


def macro_f1(answers: Sequence[Answer], names: Sequence[str]) -> Figure:
    """The mean F1 of the labels that occur, as truth or as prediction."""
    return Figure(lambda true, given: macro_f1_of(true, given, len(names)), numbers(answers, names))


def macro_f1_of(true: np.ndarray, given: np.ndarray, labels: int) -> np.ndarray:
    """(R,) for label numbers (R, N), `labels` meaning no decision: that is never right, and no label to be averaged."""
    step = max(1, CELLS // (labels + 1) ** 2)
    values = []
    for start in range(0, len(true), step):
        table = f1.confusion(true[start : start + step], given[start : start + step], labels + 1)
        occurs = ((table.sum(-1) + table.sum(-2)) > 0)[..., :labels]
        values.append((f1.f1(table)[..., :labels] * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1))
    return np.concatenate(values)


def numbers(answers: Sequence[Answer], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted labels as numbers (N,); no decision is one more than the last."""
    classes = [*names, ""]
    return (f1.numbers([answer["label"] for answer in answers], classes),
            f1.numbers([answer["predicted"] or "" for answer in answers], classes))  # fmt: skip
