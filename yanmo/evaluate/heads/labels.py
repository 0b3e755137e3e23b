"""Any number of labels of whole texts: held against giving each label as often as in training, and the most frequent set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.data import Example, Prediction
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.heads.classify import ClassifyHead
from yanmo.evaluate.measure import Answer, Figure
from yanmo.tasks.base import Task
from yanmo.tasks.multi_label import MultiLabel, table
from yanmo.text.metrics import several

if TYPE_CHECKING:
    from yanmo.evaluate.page import Markup
    from yanmo.evaluate.record import Record
    from yanmo.inference.model import Model


class LabelsHead(ClassifyHead):
    """Any number of labels for the whole text."""

    leading: ClassVar[tuple[str, ...]] = ("macro_f1", "micro_f1", "subset_accuracy")

    def able(self, config: Mapping[str, Any]) -> bool:
        return config.get("problem_type") == "multi_label_classification"

    def unfit(self, model: Model, task: Task) -> Text | None:
        reason = super().unfit(model, task)
        if reason is None and model.loaded.head != "labels":
            return text("it gives each text one label")
        return reason

    def beside(self, example: Example, prediction: Prediction) -> Answer:
        """The true `labels`, and what was `given` (null: no decision)."""
        given = None if prediction.labels is None else list(prediction.labels)
        return {"labels": list(example.fields["labels"]), "given": given}

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """macro_f1, micro_f1, subset_accuracy. Lines: labels, given (null: no decision, which has none of them)."""
        names = task.names() if isinstance(task, MultiLabel) else sorted({n for line in lines for n in line["labels"]})
        true, given = table([line["labels"] for line in lines], names), table([line["given"] or () for line in lines], names)
        decided = np.array([line["given"] is not None for line in lines], bool)
        weight = 2 * len(names) + 1
        return {
            "macro_f1": Figure(several.macro_f1, (true, given), several.counts, weight),
            "micro_f1": Figure(several.micro_f1, (true, given), several.counts, weight),
            "subset_accuracy": Figure(several.subset_accuracy, (true, given, decided), weight=weight),
        }

    def change(self, task: Task, lines: Sequence[Answer]) -> tuple[str, Figure]:
        return "subset_accuracy", self.figures(task, lines)["subset_accuracy"]

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """majority: always the set of labels that most training texts have."""
        assert isinstance(task, MultiLabel), task
        training = [example.fields["labels"] for example in task.load("train")] or [tuple(line["labels"]) for line in lines]
        counts = Counter(training)
        most = list(max(sorted(counts), key=lambda labels: counts[labels]))
        return self.scored("majority", name, [{**line, "given": most} for line in lines], task)

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        pairs = [(Example(line["id"], {"labels": tuple(line["labels"])}),
                  Prediction("", labels=None if line["given"] is None else tuple(line["given"]))) for line in lines]  # fmt: skip
        return {"truncated": sum("cut" in line for line in lines), **task.score(pairs)}

    def section(self, record: Record, task: str) -> Markup | None:
        return Head.section(self, record, task)

    def findings(self, record: Record, task: str) -> tuple[list[Markup], list[str]]:
        return Head.findings(self, record, task)
