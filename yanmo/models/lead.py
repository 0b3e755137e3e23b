"""The first sentences of a text as its summary: hard to beat where texts are news, whose first lines say most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.models.base import ModelPart
from yanmo.models.families.family import needs
from yanmo.models.writer import TextWriter, other_task, required
from yanmo.text.sentences import joined, sentences


class LeadModel(ModelPart):
    """The first `sentences` of a text: a baseline for summaries."""

    tasks: ClassVar[tuple[str, ...]] = ("summarize",)

    type: str = "lead"
    sentences: int = Field(1, ge=1)

    def fit_task(self, task: Any) -> LeadWriter:
        """Nothing is learned."""
        required(self, task)
        return LeadWriter(self.sentences)


class LeadWriter(TextWriter):
    """`count`: of sentences."""

    family = "yanmo_lead"

    def __init__(self, count: int):
        self.count = count

    def write(self, texts: Sequence[str]) -> list[str]:
        return [joined(sentences(content)[: self.count]) for content in texts]

    def unfit(self, task: Any) -> Text | None:
        return other_task(task, "summarize")


class LeadFamily:
    """How many sentences are taken: config.json alone."""

    def write(self, model: LeadWriter, folder: Path) -> dict[str, Any]:
        return {"architectures": ["YanmoLead"], "model_type": model.family, "sentences": model.count}

    def read(self, folder: Path, config: dict[str, Any]) -> LeadWriter:
        needs(config, str(folder / "config.json"), "sentences")
        if type(config["sentences"]) is not int or config["sentences"] < 1:
            raise DataError(f"{folder / 'config.json'}: sentences", text("a whole number"), str(config["sentences"])[:40])
        return LeadWriter(config["sentences"])
