"""Which of some continuations a model finds the likeliest, held against chance and the most frequent letter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from yanmo.core.data import Example, Prediction
from yanmo.core.messages import Text, text
from yanmo.evaluate.choosing import choose, unable, written
from yanmo.evaluate.head import Head
from yanmo.evaluate.labelled import calibrated
from yanmo.evaluate.measure import EXCERPT, Answer, Figure, accuracy, grouped, result
from yanmo.tasks.base import Task
from yanmo.tasks.likelihoods import Normalize, shares, winner
from yanmo.tasks.multiple_choice import MultipleChoice, letter

if TYPE_CHECKING:
    from yanmo.inference.model import Model

SHOWN = 100  # characters of a choice that its line repeats


class ChoiceHead(Head):
    """The likeliest of some continuations."""

    leading: ClassVar[tuple[str, ...]] = ("accuracy",)

    # ------------------------------------------------------------------------------------------------ asking

    def unfit(self, model: Model, task: Task) -> Text | None:
        assert isinstance(task, MultipleChoice), task
        return unable(model, task.chat)

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        assert isinstance(task, MultipleChoice), task
        lines = []
        for example, found in zip(examples, choose(model, task.pose(examples), task.normalize, task.chat)):
            choices = example.fields["choices"]
            prediction = task.decode(found.values, example)
            said = [letter(index) for index in range(len(choices))] if task.letters else choices
            share = math.nan if found.winner is None else max(shares(found.values))
            lines.append({
                "id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
                "group": example.fields.get("group") or "", "language": example.fields.get("language") or "",
                "choices": [choice[:SHOWN] for choice in choices], "label": example.fields["label"],
                "predicted": prediction.label, "score": None if math.isnan(share) else round(share, 6), "by": task.normalize,
                "bytes": [len(choice.encode("utf-8", "surrogatepass")) for choice in said],
                "characters": [len(choice) for choice in said], **written(found),
            })  # fmt: skip
        return lines

    # ------------------------------------------------------------------------------------------------ figures

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """accuracy, by what the task compares; what accuracy would be if something else were compared; ece.

        Lines: label, predicted (null: no decision, which is wrong), by, logprobs, tokens, bytes, characters, priors."""
        others = [how for how in get_args(Normalize) if how != lines[0]["by"] and (how not in ("prior", "contextual"))]
        found = {"accuracy": accuracy(lines)}
        for how in others:
            right = np.array([_chosen(line, how) == line["label"] for line in lines])
            found[f"accuracy_{how}"] = Figure(lambda hits: hits.mean(-1), (right,))
        return found | calibrated(lines)

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """chance: one of the choices drawn, right as often as one in so many, exactly; majority: always the letter that is right
        most often in the training data (in the test data, where there is none)."""
        rows = []
        for group, items in grouped(lines, self.keys).items():
            value = float(np.mean([1 / len(lines[index]["choices"]) for index in items]))
            rows.append(result("chance", name, "accuracy", value, (value, value), len(items), group))
        letters = Counter([example.fields["label"] for example in task.load("train")] or [line["label"] for line in lines])
        most = min(letters, key=lambda name: (-letters[name], name))
        for group, items in grouped(lines, self.keys).items():
            figure = accuracy([{"label": lines[index]["label"], "predicted": most} for index in items])
            rows.append(result("majority", name, "accuracy", figure.value, figure.bounds(), len(items), group))
        return rows

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """How many prompts lost their beginning, and undecided and chosen as the task's own score has them."""
        pairs = [(Example(line["id"], {"label": line["label"]}), Prediction("", line["predicted"])) for line in lines]
        return {"by": lines[0]["by"], "truncated": sum("cut" in line for line in lines), **task.score(pairs)}

    @property
    def title(self) -> Text:
        return text("Choosing answers")


def _chosen(line: Answer, how: Normalize) -> str | None:
    logprobs = [math.nan if value is None else value for value in line["logprobs"]]
    sizes = {"sum": [1] * len(logprobs), "tokens": line["tokens"], "bytes": line["bytes"], "characters": line["characters"]}
    best = winner([value / max(size, 1) for value, size in zip(logprobs, sizes[how])])
    return None if best is None else letter(best)
