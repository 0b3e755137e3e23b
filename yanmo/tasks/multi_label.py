"""Any number of labels for each text: topics, emotions, symptoms.

    train.jsonl   {"text": "the soup was cold and the waiter rude", "labels": ["food", "service"]}
                  {"text": "we were there on Monday", "labels": []}

In CSV the labels stand in one column, `separator` between them. Everything else is as in `classify`: files, splits, pairs of
texts, changed copies, refusals. A label is given where its probability is above `threshold`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from yanmo.core.config import describe
from yanmo.core.data import Example, Prediction
from yanmo.core.messages import text
from yanmo.tasks.classify import Classify
from yanmo.tasks.labelled import Fields, bad, label_text
from yanmo.tasks.offenders import Offenders
from yanmo.tasks.records import Record

BETWEEN = " | "  # labels, where they are shown as one
THRESHOLD = 0.5


class MultiLabel(Classify):
    """Any number of labels for each text or pair of texts, from JSON lines, CSV, or a published layout."""

    head: ClassVar[str] = "labels"
    metric: ClassVar[str] = "macro_f1"

    type: str = "multi_label"
    fields: Fields = Fields(label="labels")
    separator: str = Field("|", min_length=1, description="between the labels of a row that has them as one string")
    threshold: float = Field(THRESHOLD, gt=0, lt=1, description="of a label's probability, above which it is given")

    def _label_of(self, record: Record, offenders: Offenders) -> dict[str, Any] | None:
        given = record.values[self.fields.label]
        found = [part for part in given.split(self.separator) if part.strip()] if isinstance(given, str) else given
        names = [label_text(label) for label in found] if isinstance(found, list) else [None]
        if None in names:
            bad(offenders, record, self.fields.label, text("a list of labels"), describe(given))
            return None
        if len(set(names)) < len(names):
            bad(offenders, record, self.fields.label, text("each label once"), describe(given))
            return None
        several = tuple(sorted(name for name in names if name))
        return {"label": BETWEEN.join(several), "labels": several}

    def _target(self, example: Example) -> Any:
        """1.0 for each label of `names()` that holds, 0.0 for the others."""
        several = example.fields.get("labels")
        return None if several is None else [float(name in several) for name in self.names()]

    def decode(self, outputs: Any, example: Example, names: Sequence[str] | None = None) -> Prediction:
        """`outputs`: the probability of each label (L,), in the order of `names` (the task's own unless given)."""
        return decide(example.fields["text"], self.names() if names is None else names, outputs, self.threshold)

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """macro_f1, micro_f1, subset_accuracy (all labels right), per_class, and how many were undecided (wrong in all of it)."""
        from yanmo.text.metrics import several

        names = self.names()
        true = table([example.fields["labels"] for example, _ in pairs], names)
        given = table([prediction.labels or () for _, prediction in pairs], names)
        decided = np.array([prediction.labels is not None for _, prediction in pairs], bool)
        counts = several.counts(true, given)
        return {
            "macro_f1": float(several.macro_f1(counts)), "micro_f1": float(several.micro_f1(counts)),
            "subset_accuracy": float(several.subset_accuracy(true, given, decided)),
            "per_class": several.per_class(counts, names), "undecided": int((~decided).sum()),
        }  # fmt: skip


def decide(content: str, names: Sequence[str], outputs: Any, threshold: float = THRESHOLD) -> Prediction:
    """The labels that are more probable than `threshold`; none at all is a decision too. A value that is not finite decides
    nothing: `labels` None. `score`: the probability that all of these decisions are right, were they independent."""
    values = [float(value) for value in outputs]
    assert len(values) == len(names), f"{len(values)} scores for {len(names)} labels"
    scores = dict(zip(names, values))
    if not all(map(math.isfinite, values)):
        return Prediction(content)
    chosen = tuple(sorted(name for name, value in scores.items() if value > threshold))
    sure = math.prod(value if name in chosen else 1 - value for name, value in scores.items())
    return Prediction(content, BETWEEN.join(chosen), sure, scores, labels=chosen)


def table(rows: Sequence[Sequence[str]], names: Sequence[str]) -> np.ndarray:
    """(N, L) bool: which of `names` each row has."""
    return np.array([[name in row for name in names] for row in rows], bool).reshape(len(rows), len(names))
