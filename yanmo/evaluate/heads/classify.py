"""Labels of whole texts: predicted by models with those labels, held against chance and the most frequent label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.data import Example, Prediction
from yanmo.core.messages import Text, text
from yanmo.evaluate import labelled, prompted
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import EXCERPT, Answer, Figure, accuracy, digits, grouped, result
from yanmo.tasks.base import Task
from yanmo.tasks.classify import Classify, pair_tokens

if TYPE_CHECKING:
    from yanmo.evaluate.page import Markup
    from yanmo.evaluate.record import Record
    from yanmo.inference.model import Model


class ClassifyHead(Head):
    """A score for each label of the whole text."""

    keys: ClassVar[tuple[str, ...]] = ("group",)
    leading: ClassVar[tuple[str, ...]] = ("macro_f1", "accuracy")

    # ------------------------------------------------------------------------------------------------ asking

    def able(self, config: Mapping[str, Any]) -> bool:
        return bool(config.get("id2label"))

    def suited(self, task: Task, model: Model) -> Task:
        assert isinstance(task, Classify), task
        return task.labelled(model.loaded.labels) if model.loaded.labels else task

    def unfit(self, model: Model, task: Task) -> Text | None:
        assert isinstance(task, Classify), task
        loaded = model.loaded
        if not loaded.labels and task.prompt is not None:
            return prompted.unfit(model, task)
        if not loaded.labels:
            return text("it has no labels: finetune it on the task first")
        unknown = sorted(set(task.names()) ^ set(loaded.labels))
        if unknown:
            return text("it was made for other labels (not in both: {labels})", labels=", ".join(unknown[:6]))
        return None

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        from yanmo.inference.model import WINDOW

        loaded = model.loaded
        if not loaded.labels:
            assert isinstance(task, Classify), task
            return prompted.answer(model, task, examples)
        lines = []
        asked = [(example.fields["text"], example.fields.get("second")) for example in examples]
        predicted = model.predict([first if second is None else (first, second) for first, second in asked])
        for example, (first, second), prediction in zip(examples, asked, predicted):
            cut = pair_tokens(first, second, loaded.tokenizer, model.context or WINDOW)[2] if loaded.tokenizer else 0
            line = {"id": example.id, "where": example.where, "text": prediction.text[:EXCERPT],
                    "group": example.fields.get("group") or "", "label": example.fields["label"],
                    "predicted": prediction.label,
                    "score": None if prediction.score is None else round(prediction.score, 6)}  # fmt: skip
            line |= {"scores": {name: digits(value) for name, value in prediction.scores.items()}} if prediction.scores else {}
            line |= {} if second is None else {"second": second[:EXCERPT]}
            lines.append(line | self.beside(example, prediction) | ({"cut": cut} if cut else {}))
        return lines

    def beside(self, example: Example, prediction: Prediction) -> Answer:
        """What else a line has."""
        return {}

    # ------------------------------------------------------------------------------------------------ figures

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """accuracy, macro_f1 and what else is known of labels (`labelled.figures`)."""
        return labelled.figures(lines, task.names() if isinstance(task, Classify) else labelled.labels_in(lines))

    def change(self, task: Task, lines: Sequence[Answer]) -> tuple[str, Figure]:
        return "accuracy", accuracy(lines)

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """chance: a label drawn with equal probability for each example, the mean of 1000 such drawings and the range that
        95% of them fall in; majority: always the most frequent label of the training data (of equals the first)."""
        assert isinstance(task, Classify), task
        names = task.names()
        training = [example.fields["label"] for example in task.load("train")] or [line["label"] for line in lines]
        rows = []
        truth, _ = labelled.numbers(lines, names)
        for group, items in grouped(lines, self.keys).items():
            for metric, values in labelled.drawn(truth[items], len(names)).items():
                low, high = (float(bound) for bound in np.percentile(values, [2.5, 97.5]))
                rows.append(result("chance", name, metric, float(np.mean(values)), (low, high), len(items), group))
        counts = Counter(training)
        most = max(names, key=lambda label: counts[label])  # max keeps the first of equals
        constant = [{**line, "predicted": most, "score": None, "scores": None} for line in lines]
        return rows + self.scored("majority", name, constant, task)

    # ------------------------------------------------------------------------------------------------ tables and pages

    def about(self, task: Task) -> dict[str, Any]:
        from yanmo.evaluate.provenance import provenance

        assert isinstance(task, Classify), task
        concerns = [concern.render("en") for concern in task.check()]
        return {"data": provenance(task.files()), "labels": task.names(), "concerns": concerns}

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """How many texts were cut, and accuracy, macro_f1, ece, per_class, confusion as the task's own score has them."""
        pairs = [(Example(line["id"], {"label": line["label"]}), Prediction("", line["predicted"], line["score"]))
                 for line in lines]  # fmt: skip
        return {"truncated": sum("cut" in line for line in lines), **task.score(pairs)}

    @property
    def title(self) -> Text:
        return text("Labelling texts")

    def section(self, record: Record, task: str) -> Markup | None:
        from yanmo.evaluate.sections import labels

        return labels.section(record, task)

    def findings(self, record: Record, task: str) -> tuple[list[Markup], list[str]]:
        from yanmo.evaluate.sections import findings

        return findings.labelling(record, task)
