"""Entities in texts: found by models that tag tokens, held against finding none and against names known by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.data import Example, Prediction, Span
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import EXCERPT, Answer, Figure, rounded
from yanmo.tasks.base import Task
from yanmo.tasks.gazetteer import Gazetteer
from yanmo.tasks.ner import Ner
from yanmo.text import tags
from yanmo.text.metrics import entities

if TYPE_CHECKING:
    from yanmo.inference.model import Model

NOTHING, BY_HEART = "no-entity", "names-by-heart"  # floors


class TagHead(Head):
    """Named spans of a text."""

    keys: ClassVar[tuple[str, ...]] = ("group",)
    leading: ClassVar[tuple[str, ...]] = ("entity_f1", "precision", "recall")

    # ------------------------------------------------------------------------------------------------ asking

    def able(self, config: Mapping[str, Any]) -> bool:
        return str((config.get("architectures") or [""])[0]).endswith("ForTokenClassification")

    def suited(self, task: Task, model: Model) -> Task:
        assert isinstance(task, Ner), task
        return task.labelled(model.loaded.labels) if tags.types(model.loaded.labels) else task

    def unfit(self, model: Model, task: Task) -> Text | None:
        assert isinstance(task, Ner), task
        if not self.able(model.loaded.config):
            return text("it gives no tags: finetune it on the task first")
        unknown = sorted(set(task.types()) ^ set(tags.types(model.loaded.labels)))
        if unknown:
            return text("it was made for other labels (not in both: {labels})", labels=", ".join(unknown[:6]))
        return None

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        """`spans`: the true entities, `predicted`: the given ones, both [start, end, type]. `unreachable`: how many of the true
        ones begin or end within a token of the model's, so that it could not have found them."""
        assert isinstance(task, Ner), task
        tokenizer = model.loaded.tokenizer
        lines = []
        for example, prediction in zip(examples, model.tag([example.fields["text"] for example in examples])):
            true = example.fields["spans"]
            line = {"id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
                    "group": example.fields.get("group") or "", "spans": listed(true), "predicted": listed(prediction.spans),
                    "score": None if prediction.score is None else rounded(prediction.score)}  # fmt: skip
            lost = len(true) - task.reachable(example, tokenizer) if tokenizer is not None and true else 0
            lines.append(line | ({"unreachable": lost} if lost else {}))
        return lines

    # ------------------------------------------------------------------------------------------------ figures

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """entity_f1, precision, recall (of all entities together), macro_f1 (mean over types), boundary_f1 (borders alone)."""
        names = types_in(lines)
        told = [(plain(line["spans"]), plain(line["predicted"])) for line in lines]
        every = np.stack([entities.counts(true, given, names) for true, given in told])  # (N, C, 3)
        every = every.astype(np.min_scalar_type(int(every.max(initial=0))))  # thousands of resamples of it are held at one time
        micro, border = every.sum(1), np.stack([entities.borders(true, given) for true, given in told])  # (N, 3)
        of_all = {"entity_f1": entities.f1, "precision": entities.precision, "recall": entities.recall}
        found = {name: Figure(metric, (micro,), _total, weight=3) for name, metric in of_all.items()}
        found["macro_f1"] = Figure(entities.macro_f1, (every,), _by_type, weight=3 * max(len(names), 1))
        return found | {"boundary_f1": Figure(entities.f1, (border,), _total, weight=3)}

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """no-entity: nothing is ever one. names-by-heart: the entities of the training texts, each as what it mostly was there,
        wherever they stand; without training texts there is none."""
        assert isinstance(task, Ner), task
        rows = self.scored(NOTHING, name, [{**line, "predicted": []} for line in lines], task)
        training = task.load("train")
        if training:
            book, texts = Gazetteer.of(training), {example.id: example.fields["text"] for example in task.load("test")}
            known = [{**line, "predicted": listed(book.find(texts[line["id"]]))} for line in lines]
            rows += self.scored(BY_HEART, name, known, task)
        return rows

    # ------------------------------------------------------------------------------------------------ tables and pages

    def about(self, task: Task) -> dict[str, Any]:
        assert isinstance(task, Ner), task
        return super().about(task) | {"labels": task.types()}

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """What the task's own score has, how many of the entities no tag could have reached, and texts that got no answer."""
        pairs = [(Example(line["id"], {"spans": spans(line["spans"])}), Prediction("", spans=spans(line["predicted"])))
                 for line in lines]  # fmt: skip
        return {"unreachable": sum(line.get("unreachable", 0) for line in lines),
                "unanswered": sum(line["score"] is None for line in lines), **task.score(pairs)}  # fmt: skip

    @property
    def title(self) -> Text:
        return text("Finding entities")


def listed(found: Sequence[Span]) -> list[list[Any]]:
    return [[span.start, span.end, span.label] for span in found]


def spans(found: Sequence[Sequence[Any]]) -> tuple[Span, ...]:
    return tuple(Span(*item) for item in found)


def plain(found: Sequence[Sequence[Any]]) -> list[tuple[int, int, str]]:
    return [(start, end, label) for start, end, label in found]


def types_in(lines: Sequence[Answer]) -> list[str]:
    """Every type in answers, as truth or as prediction, sorted."""
    return sorted({item[2] for line in lines for key in ("spans", "predicted") for item in line[key]})


def _total(counts: np.ndarray) -> np.ndarray:
    """(R, 3) of counts (R, N, 3)."""
    return counts.sum(-2)


def _by_type(counts: np.ndarray) -> np.ndarray:
    """(R, C, 3) of counts (R, N, C, 3)."""
    return counts.sum(-3)
