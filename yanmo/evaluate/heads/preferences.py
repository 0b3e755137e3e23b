"""Which of two answers a model finds likelier (a reward model: worth more), held against the toss of a coin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from yanmo.core.data import Example
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import EXCERPT, Answer, Figure, accuracy, grouped, result, rounded
from yanmo.tasks.base import Task
from yanmo.tasks.preferences import CHOSEN, REJECTED, Preferences

if TYPE_CHECKING:
    from yanmo.inference.model import Model

ROWS = 16  # pairs that are read together
LONGEST = 1024  # tokens of a text, for models that take any


class PreferencesHead(Head):
    """The better of two answers."""

    leading: ClassVar[tuple[str, ...]] = ("accuracy",)

    def able(self, config: Mapping[str, Any]) -> bool:
        return len(config.get("id2label") or [0]) == 1

    def optimum(self, task: Task) -> float | None:
        return 1.0

    def unfit(self, model: Model, task: Task) -> Text | None:
        loaded = model.loaded
        if len(loaded.labels) > 1:
            return text("it tells labels, not what is better")
        if not loaded.labels and (not loaded.generates or loaded.model.kind != "causal"):
            return text("it gives answers no probability")
        return text("it has no tokenizer") if loaded.tokenizer is None else None

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        assert isinstance(task, Preferences), task
        worth = _scores(model, task, examples)
        lines = []
        for example, (chosen, rejected) in zip(examples, worth, strict=True):
            lines.append({
                "id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
                "group": example.fields.get("group") or "", "label": CHOSEN,
                "predicted": task.decode((chosen, rejected), example).label, "score": rounded(chosen - rejected),
                "by": "score" if model.loaded.labels else "likelihood",
            })  # fmt: skip
        return lines

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """accuracy: the share of pairs whose chosen answer comes first; a tie is wrong."""
        return {"accuracy": accuracy(lines)}

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """chance: one of the two drawn, half of them right, exactly."""
        return [result("chance", name, "accuracy", 0.5, (0.5, 0.5), len(items), group)
                for group, items in grouped(lines, self.keys).items()]  # fmt: skip

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        return {"by": lines[0]["by"], "undecided": sum(line["predicted"] is None for line in lines)}

    @property
    def title(self) -> Text:
        return text("Telling the better answer")


def _scores(model: Model, task: Preferences, examples: list[Example]) -> list[tuple[float, float]]:
    """What the model gives the chosen and the rejected answer: ln p, or of a reward model its score."""
    import torch

    from yanmo.inference.judge import judge
    from yanmo.inference.likelihood import device_of
    from yanmo.objectives.base import Context
    from yanmo.objectives.dpo import Dpo

    loaded = model.loaded
    if loaded.labels:
        score = judge(loaded, model.where)
        chosen, rejected = (score(examples, [example.fields[name] for example in examples]) for name in (CHOSEN, REJECTED))
        return list(zip(chosen, rejected))
    assert loaded.tokenizer is not None
    objective = Dpo(type="dpo").bind(Context(loaded.tokenizer))
    length = loaded.model.context or LONGEST
    rows = objective.rows([tuple(task.encode(example, loaded.tokenizer, length)) for example in examples])  # type: ignore[misc]
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].tokens), i))
    found: list[Any] = [None] * len(rows)
    with torch.no_grad():
        for start in range(0, len(order), ROWS):
            chosen_rows = order[start : start + ROWS]
            batch: Any = objective.collate([rows[i] for i in chosen_rows], torch.Generator()).to(device_of(loaded.model))
            for index, values in zip(chosen_rows, objective.likelihoods(loaded.model, batch).tolist()):
                found[index] = tuple(values)
    return found
