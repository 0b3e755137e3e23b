"""Prompts that models answer, verified by the task: the share of right answers, held against always saying the commonest one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from yanmo.core.data import Example
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import EXCERPT, Answer, Figure, column, rounded
from yanmo.tasks.base import Task
from yanmo.tasks.prompts import Prompts
from yanmo.tasks.rewards import worth

if TYPE_CHECKING:
    from yanmo.inference.model import Model

COMMONEST = "commonest"
RIGHT = ("exact", "number")  # verifiers that a right answer satisfies


class PromptsHead(Head):
    """An answer to a prompt, and whether it is right."""

    leading: ClassVar[tuple[str, ...]] = ("verified",)

    def optimum(self, task: Task) -> float | None:
        """What the right answer gets, where every verifier is one that a right answer satisfies."""
        assert isinstance(task, Prompts), task
        verifiers = task.verifiers()
        known = verifiers and all(verifier.type in RIGHT and verifier.weight > 0 for verifier in verifiers)
        return sum(verifier.weight for verifier in verifiers) if known else None

    def unfit(self, model: Model, task: Task) -> Text | None:
        from yanmo.inference.model import generates
        from yanmo.models.writer import TextWriter

        assert isinstance(task, Prompts), task
        writer = model.loaded.model
        if isinstance(writer, TextWriter) and (other := writer.unfit(task)) is not None:
            return other
        if not isinstance(writer, TextWriter) and (not generates(model.loaded) or writer.kind != "causal"):
            return text("it writes no text")
        if not task.verifiers():
            return text("nothing verifies the answers: give the task 'verify'")
        if isinstance(writer, TextWriter):
            return None
        chats = any(not isinstance(example.fields["prompt"], str) for example in task.load("test"))
        if chats and not getattr(model.loaded.tokenizer, "chat_template", None):
            return text("its tokenizer has no chat template")
        return None

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        from yanmo.models.writer import TextWriter

        assert isinstance(task, Prompts), task
        writer = model.loaded.model
        if isinstance(writer, TextWriter):
            said = [{"answer": answer} for answer in writer.write([example.fields["text"] for example in examples])]
        else:
            said = _generated(model, task, examples)
        verifiers, floor = task.verifiers(), _commonest(task)
        right = worth(verifiers, examples, [one["answer"] for one in said])
        plain = worth(verifiers, examples, [floor] * len(examples)) if floor is not None else None
        lines = []
        for index, (example, one) in enumerate(zip(examples, said, strict=True)):
            line = {"id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
                    "group": example.fields.get("group") or "", "language": str(example.fields.get("language") or ""),
                    "answer": one["answer"], "verified": rounded(right[index])}  # fmt: skip
            line |= {COMMONEST: rounded(plain[index])} if plain is not None else {}
            lines.append(line | {key: one[key] for key in ("tokens", "unfinished") if key in one})
        return lines

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """verified, the mean of what verifies the answers; tokens of an answer, where a language model wrote it."""
        names = ("verified", "tokens") if all("tokens" in line for line in lines) else ("verified",)
        return {name: Figure(lambda values: values.mean(-1), (column(lines, name),)) for name in names}

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """commonest: the answer that is right for most of the training prompts (of the test's, without any), always."""
        if COMMONEST not in lines[0]:
            return []
        plain = [{**line, "verified": line[COMMONEST]} for line in lines]
        return [row for row in self.scored(COMMONEST, name, plain, task) if row["metric"] == "verified"]

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """How many answers did not end, and the first ones."""
        shown = [{key: line[key] for key in ("text", "answer", "verified")} for line in lines[:3]]
        return {"unfinished": sum("unfinished" in line for line in lines), "answers": shown}

    @property
    def title(self) -> Text:
        return text("Answers that can be verified")


def _commonest(task: Prompts) -> str | None:
    examples = task.load("train") or task.load("test")
    answers = Counter(str(example.fields["answer"]) for example in examples if "answer" in example.fields)
    return min(answers, key=lambda answer: (-answers[answer], answer)) if answers else None


def _generated(model: Model, task: Prompts, examples: list[Example]) -> list[Answer]:
    """What a language model answers: {answer, tokens, unfinished?}."""
    from yanmo.inference.rollouts import generator

    loaded = model.loaded
    assert loaded.tokenizer is not None
    context = loaded.model.context or 1 << 40
    room = max(context - task.max_tokens, context // 2, 1)
    rows = [task.encode(example, loaded.tokenizer, room)[0] for example in examples]
    found = generator(loaded.tokenizer)(loaded.model, [row.tokens for row in rows], list(range(len(rows))),
                                        max_tokens=task.max_tokens, temperature=task.temperature, stop=task.stop)  # fmt: skip
    return [{"answer": one.text, "tokens": len(one.ids), **({} if one.finish == "stop" else {"unfinished": True})}
            for one in found]  # fmt: skip
