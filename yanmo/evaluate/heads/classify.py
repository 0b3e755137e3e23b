"""Labels of whole texts: predicted by models with those labels, held against chance and the most frequent label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.data import Example, Prediction
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import CELLS, EXCERPT, Answer, Figure, accuracy, grouped, result
from yanmo.tasks.base import Task
from yanmo.tasks.classify import Classify, row_tokens
from yanmo.text.metrics import f1

if TYPE_CHECKING:
    from yanmo.evaluate.page import Markup
    from yanmo.evaluate.record import Record
    from yanmo.inference.model import Model

DRAWS = 1000  # of labels at random, for the floor


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
        if not loaded.labels:
            return text("it has no labels: finetune it on the task first")
        unknown = sorted(set(task.names()) ^ set(loaded.labels))
        if unknown:
            return text("it was made for other labels (not in both: {labels})", labels=", ".join(unknown[:6]))
        return None

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        from yanmo.inference.model import WINDOW

        loaded = model.loaded
        lines = []
        for example, prediction in zip(examples, model.predict([example.fields["text"] for example in examples])):
            cut = row_tokens(prediction.text, loaded.tokenizer, model.context or WINDOW)[1] if loaded.tokenizer else 0
            line = {"id": example.id, "where": example.where, "text": prediction.text[:EXCERPT],
                    "group": example.fields.get("group") or "", "label": example.fields["label"],
                    "predicted": prediction.label,
                    "score": None if prediction.score is None else round(prediction.score, 6)}  # fmt: skip
            lines.append(line | ({"cut": cut} if cut else {}))
        return lines

    # ------------------------------------------------------------------------------------------------ figures

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """accuracy and macro_f1. Lines: label, predicted (null: no decision, which is wrong)."""
        names = task.names() if isinstance(task, Classify) else labelled(lines)
        return {"accuracy": accuracy(lines), "macro_f1": macro_f1(lines, names)}

    def change(self, task: Task, lines: Sequence[Answer]) -> tuple[str, Figure]:
        return "accuracy", accuracy(lines)

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """chance: a label drawn with equal probability for each example, the mean of 1000 such drawings and the range that
        95% of them fall in; majority: always the most frequent label of the training data (of equals the first)."""
        assert isinstance(task, Classify), task
        names = task.names()
        training = [example.fields["label"] for example in task.load("train")] or [line["label"] for line in lines]
        rows = []
        truth, _ = numbers(lines, names)
        for group, items in grouped(lines, self.keys).items():
            for metric, values in drawn(truth[items], len(names)).items():
                low, high = (float(bound) for bound in np.percentile(values, [2.5, 97.5]))
                rows.append(result("chance", name, metric, float(np.mean(values)), (low, high), len(items), group))
        counts = Counter(training)
        most = max(names, key=lambda label: counts[label])  # max keeps the first of equals
        return rows + self.scored("majority", name, [{**line, "predicted": most} for line in lines], task)

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


def labelled(lines: Iterable[Answer]) -> list[str]:
    """Every label in answers, as truth or as prediction, sorted."""
    return sorted({line[key] for line in lines for key in ("label", "predicted") if line[key]})


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


def drawn(true: np.ndarray, labels: int) -> dict[str, np.ndarray]:
    """accuracy and macro_f1 (DRAWS,) of labels drawn at random, some drawings at a time."""
    rng = np.random.default_rng(0)
    step = max(1, CELLS // max(len(true), 1))
    right, scores = [], []
    for start in range(0, DRAWS, step):
        rows = np.broadcast_to(true, (min(step, DRAWS - start), len(true)))
        given = rng.integers(0, labels, rows.shape)
        right.append((rows == given).mean(-1))
        scores.append(macro_f1_of(rows, given, labels))
    return {"accuracy": np.concatenate(right), "macro_f1": np.concatenate(scores)}
