"""What evaluation must know of a task, by the task's `head`: what a model is asked, and what its answers amount to.

One class a head in `heads/`, found by the registry (kind "head"); nothing else in `evaluate/` knows a task by name. A head
answers items with lines of JSON, the answer file, and every figure is computed from those lines alone: so each can be
recomputed, split by language, or compared between two models item by item, without the models.

A head must have `answer` and `figures`; the rest follows from those unless the head knows better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from yanmo.core.data import Example
from yanmo.core.errors import RequestError
from yanmo.core.messages import Text, text
from yanmo.core.registry import lookup, names, resolve
from yanmo.evaluate.measure import Answer, Figure, grouped, result
from yanmo.evaluate.measure import scored as measured
from yanmo.tasks.base import Task

if TYPE_CHECKING:
    from yanmo.evaluate.page import Markup
    from yanmo.evaluate.record import Record
    from yanmo.inference.model import Model


class Head:
    """What models give for the tasks of one head."""

    keys: ClassVar[tuple[str, ...]] = ("language", "group")  # of the answers: results are also given for each value of these
    leading: ClassVar[tuple[str, ...]] = ()  # metrics that the card shows; empty: all

    # ------------------------------------------------------------------------------------------------ asking

    def able(self, config: Mapping[str, Any]) -> bool:
        """Whether a model with this config.json may be meant, where a run has several; `unfit` has the last word."""
        return not config.get("id2label")

    def suited(self, task: Task, model: Model) -> Task:
        """The task as this model knows it: with the model's own labels, where it has some."""
        return task

    def unfit(self, model: Model, task: Task) -> Text | None:
        """Why the model cannot do the task, or None."""
        raise NotImplementedError

    def size(self, example: Example) -> int:
        """Characters of an item, for the progress and for pieces that fit into memory."""
        return len(example.fields.get("text") or "") or sum(len(v) for v in example.fields.values() if isinstance(v, str))

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        """A line for each item, in their order: its id, what figures are computed from, and what a person wants to see."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ figures

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """Every metric of the results, from the lines alone; `task` is None where only the lines are at hand."""
        raise NotImplementedError

    def figure(self, task: Task, lines: Sequence[Answer]) -> Figure | None:
        """The one that models are compared by; None where these lines have none."""
        return self.figures(task, lines).get(task.metric)

    def change(self, task: Task, lines: Sequence[Answer]) -> tuple[str, Figure]:
        """The metric, by name, that says what further training changed."""
        figure = self.figure(task, lines)
        assert figure is not None, f"{task.type} has no {task.metric}"
        return task.metric, figure

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """Results of what needs no learning; `lines`: some model's, for the items."""
        return []

    def results(self, name: str, task: Task, answers: Mapping[str, Sequence[Answer]]) -> list[dict[str, Any]]:
        """The lines of results.json for the task that is called `name`: each model's {model: answers}, then the floors'."""
        rows = [row for model, lines in answers.items() for row in self.scored(model, name, lines, task)]
        return rows + self.floors(name, task, next(iter(answers.values())))

    def scored(self, model: str, name: str, lines: Sequence[Answer], task: Task | None = None) -> list[dict[str, Any]]:
        """The lines of results.json for one model: every metric with its interval, on all items and by group."""
        figures = self.figures(task, lines)
        rows = []
        for group, items in grouped(lines, self.keys).items():
            for metric, (value, bounds) in measured(figures, items).items():
                rows.append(result(model, name, metric, value, bounds, len(items), group))
        return rows

    # ------------------------------------------------------------------------------------------------ tables and pages

    def about(self, task: Task) -> dict[str, Any]:
        """What tables.json says of the task itself: whose data it is, and what is suspicious about it."""
        from yanmo.evaluate.provenance import provenance

        concerns = [concern.render("en") for concern in task.check()]
        return {"data": provenance(task.files())} | ({"concerns": concerns} if concerns else {})

    def optimum(self, task: Task) -> float | None:
        """The best value that the task's metric can have, where the task itself says what is right; None where nobody knows."""
        return None

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """What tables.json says of one model's answers, beyond figures."""
        return {}

    @property
    def title(self) -> Text:
        """The heading of the task's section in the report."""
        return text("How well the task is done")

    def section(self, record: Record, task: str) -> Markup | None:
        """The task's section in the report; None where no model has done it."""
        from yanmo.evaluate.sections import scores

        return scores.section(record, task)

    def findings(self, record: Record, task: str) -> tuple[list[Markup], list[str]]:
        """(tiles, sentences) for the first lines of the report."""
        from yanmo.evaluate.sections import scores

        return scores.tiles(record, task), []


def head_of(task: Task | type[Task]) -> Head:
    """The head of a task; RequestError for one that nothing here can evaluate."""
    if task.head not in names("head"):
        where = task.__name__ if isinstance(task, type) else task.type
        given = text("head '{head}'", head=task.head)
        raise RequestError(where, text("a task with a head of {names}", names=", ".join(names("head"))), given)
    return lookup("head", task.head)()


def head_by_type(name: str) -> Head:
    """The head of the task that is registered as `name`, as tables.json calls it."""
    found: Any = resolve("task", name)
    return head_of(found)
