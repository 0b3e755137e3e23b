"""Which of two texts a model finds more probable, held against the toss of a coin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from yanmo.core.data import Example, Prediction
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import EXCERPT, Answer, Figure, accuracy, grouped, result, rounded
from yanmo.tasks.base import Task

if TYPE_CHECKING:
    from yanmo.evaluate.page import Markup
    from yanmo.evaluate.record import Record
    from yanmo.inference.model import Model


class PairsHead(Head):
    """The likelier of two texts."""

    leading: ClassVar[tuple[str, ...]] = ("accuracy",)

    def unfit(self, model: Model, task: Task) -> Text | None:
        from yanmo.inference.scoring import unable

        return unable(model.loaded)

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        from yanmo.inference.scoring import score

        texts = [example.fields[name] for example in examples for name in ("text", "bad")]
        found, by, _ = score(model.loaded, texts, whole=True)
        lines = []
        for index, example in enumerate(examples):
            good, bad = (-float(nats) for nats in found.nats[2 * index : 2 * index + 2])
            prediction = task.decode((good, bad), example)
            line = {"id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
                    "bad": example.fields["bad"][:EXCERPT], "group": example.fields.get("group") or "",
                    "language": example.fields.get("language") or "",
                    "label": example.fields["label"], "predicted": prediction.label,
                    "score": rounded(good - bad)}  # fmt: skip
            lines.append(line | ({} if by == "likelihood" else {"by": by}))
        return lines

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """accuracy. Lines: label, predicted (null: no decision, which is wrong)."""
        return {"accuracy": accuracy(lines)}

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """chance: one of the two drawn, half of them right, exactly."""
        return [result("chance", name, "accuracy", 0.5, (0.5, 0.5), len(items), group)
                for group, items in grouped(lines, self.keys).items()]  # fmt: skip

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """What decided, and accuracy, by_group and undecided as the task's own score has them."""
        pairs = [(Example(line["id"], {"label": line["label"], "group": line["group"]}), Prediction("", line["predicted"]))
                 for line in lines]  # fmt: skip
        return {"by": lines[0].get("by", "likelihood"), **task.score(pairs)}

    @property
    def title(self) -> Text:
        return text("Telling grammatical sentences")

    def section(self, record: Record, task: str) -> Markup | None:
        from yanmo.evaluate.sections import pairs

        return pairs.section(record, task)

    def findings(self, record: Record, task: str) -> tuple[list[Markup], list[str]]:
        from yanmo.evaluate.sections import findings

        return findings.judging(record, task)
