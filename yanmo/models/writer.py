"""Models that write a text for a text without being language models: baselines of summaries and translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yanmo.core.errors import RequestError
from yanmo.core.messages import Text, text


class TextWriter:
    """`family` as for a LanguageModel; saved and opened by that."""

    family: str = ""

    def write(self, texts: Sequence[str]) -> list[str]:
        """An answer for each text; each depends on its own text alone."""
        raise NotImplementedError

    def unfit(self, task: Any) -> Text | None:
        """Why it cannot do a task, or None."""
        raise NotImplementedError


def required(part: Any, task: Any) -> None:
    """RequestError where a baseline is to be fitted to another task than its own."""
    if task.type not in part.tasks:
        raise RequestError("finetune.model", text("a model for the task '{task}'", task=task.type), str(part.type))


def other_task(task: Any, name: str) -> Text | None:
    """Why a baseline of one task cannot do `task`, or None."""
    return None if task.type == name else text("it does the task '{task}' alone", task=name)
