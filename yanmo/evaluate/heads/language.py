"""How probable a model finds texts: bits per byte and perplexity, of masked models their pseudo forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.data import Example
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import Answer, Figure, column, grouped, ratio, result, rounded
from yanmo.tasks.base import Task

if TYPE_CHECKING:
    from yanmo.evaluate.page import Markup
    from yanmo.evaluate.record import Record
    from yanmo.inference.model import Model

UNIFORM_BYTE = 8.0  # bits that a byte takes when all 256 are equally probable


class LanguageHead(Head):
    """The likelihood of a text, token by token."""

    keys: ClassVar[tuple[str, ...]] = ("language", "source")
    leading: ClassVar[tuple[str, ...]] = ("bits_per_byte", "pseudo_bits_per_byte")

    def unfit(self, model: Model, task: Task) -> Text | None:
        from yanmo.inference.scoring import unable

        return unable(model.loaded)

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        from yanmo.inference.scoring import score

        found, by, every = score(model.loaded, [example.fields["text"] for example in examples])
        how = ({} if by == "likelihood" else {"by": by}) | ({"every": every} if every > 1 else {})
        return [
            {"id": example.id, "source": example.fields.get("source") or "",
             "language": example.fields.get("language") or "",
             "nats": rounded(float(nats)), "tokens": int(tokens), "bytes": int(size), **how}
            for example, nats, tokens, size in zip(examples, found.nats, found.tokens, found.bytes)
        ]  # fmt: skip

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """bits_per_byte and perplexity; of a masked model pseudo_bits_per_byte and pseudo_perplexity. Lines: nats, tokens,
        bytes."""
        kind = "pseudo_" if pseudo(lines) else ""
        return {f"{kind}bits_per_byte": bits_per_byte(lines), f"{kind}perplexity": perplexity(lines)}

    def change(self, task: Task, lines: Sequence[Answer]) -> tuple[str, Figure]:
        return ("pseudo_" if pseudo(lines) else "") + "bits_per_byte", bits_per_byte(lines)

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """chance: every byte equally probable, 8 bits each, exactly."""
        exact = (UNIFORM_BYTE, UNIFORM_BYTE)
        return [result("chance", name, "bits_per_byte", UNIFORM_BYTE, exact, len(items), group)
                for group, items in grouped(lines, self.keys).items()]  # fmt: skip

    def about(self, task: Task) -> dict[str, Any]:
        return {}

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        how = {key: lines[0][key] for key in ("by", "every") if key in lines[0]}
        return {unit: sum(line[unit] for line in lines) for unit in ("tokens", "bytes")} | how

    @property
    def title(self) -> Text:
        return text("Predicting held-out text")

    def section(self, record: Record, task: str) -> Markup | None:
        from yanmo.evaluate.sections import likelihood

        return likelihood.section(record, task)

    def findings(self, record: Record, task: str) -> tuple[list[Markup], list[str]]:
        from yanmo.evaluate.sections import findings

        return findings.predicting(record, task)


def pseudo(answers: Sequence[Answer]) -> bool:
    """Whether a masked model gave them: pseudo-likelihoods, which are no probabilities and never stand among those."""
    return any(answer.get("by") == "pseudo-likelihood" for answer in answers)


def bits_per_byte(answers: Sequence[Answer]) -> Figure:
    """A ratio of sums: a long document weighs as much as its bytes, as in the whole text."""
    return Figure(lambda nats, size: ratio(nats, size) / math.log(2), (column(answers, "nats"), column(answers, "bytes")))


def perplexity(answers: Sequence[Answer]) -> Figure:
    """Per token of the model's own tokenizer: not comparable between tokenizers."""
    return Figure(lambda nats, tokens: np.exp(np.minimum(ratio(nats, tokens), 700)),
                  (column(answers, "nats"), column(answers, "tokens")))  # fmt: skip
