"""Whether the vectors of texts that belong together are near: the rank of each text's own second text among all of them, held
against drawing one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.data import Example, Prediction
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import EXCERPT, Answer, Figure, grouped, result
from yanmo.tasks.base import Task
from yanmo.tasks.embedding import ranked

if TYPE_CHECKING:
    from yanmo.inference.model import Model


class EmbedHead(Head):
    """The vector of a text."""

    leading: ClassVar[tuple[str, ...]] = ("mrr", "accuracy")

    def unfit(self, model: Model, task: Task) -> Text | None:
        from yanmo.inference.model import embeds

        return None if embeds(model.loaded) else text("it has no hidden states")

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        contents = [example.fields["second"] for example in examples]
        first, second = (model.embed([example.fields[name] for example in examples]) for name in ("text", "second"))
        lines = []
        for example, (cosine, rank) in zip(examples, ranked(first, second, contents), strict=True):
            known = bool(np.isfinite(rank))
            lines.append({
                "id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
                "second": example.fields["second"][:EXCERPT], "group": example.fields.get("group") or "",
                "cosine": round(cosine, 6) if np.isfinite(cosine) else None, "rank": int(rank) if known else None,
                "of": len(set(contents)),
            })  # fmt: skip
        return lines

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """mrr and accuracy. Lines: rank (null: a vector that is not finite, worth nothing)."""
        ranks = np.array([np.inf if line["rank"] is None else line["rank"] for line in lines], dtype=np.float64)
        return {"mrr": Figure(_mean, (1 / ranks,)), "accuracy": Figure(_mean, ((ranks == 1).astype(np.float64),))}

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """chance: one of the second texts drawn after the other, exactly."""
        rows = []
        for group, items in grouped(lines, self.keys).items():
            counts = [lines[index]["of"] for index in items]
            mrr = float(np.mean([(1 / np.arange(1, count + 1)).mean() for count in counts]))
            share = float(np.mean([1 / count for count in counts]))
            rows += [result("chance", name, metric, value, (value, value), len(items), group)
                     for metric, value in (("mrr", mrr), ("accuracy", share))]  # fmt: skip
        return rows

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """mrr and accuracy as the task's own score has them, how many texts each was told from, and those farthest from their
        own."""
        pairs = [(Example(line["id"], {}), Prediction("", scores={"rank": float(line["rank"] or np.inf)})) for line in lines]
        worst = sorted(lines, key=lambda line: (-(line["rank"] or line["of"]), line["id"]))[:5]
        shown = [{key: line[key] for key in ("text", "second", "rank")} for line in worst if line["rank"] != 1]
        return {"of": max(line["of"] for line in lines), **task.score(pairs), "farthest": shown}

    @property
    def title(self) -> Text:
        return text("Finding the text that belongs to another")


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(-1)
