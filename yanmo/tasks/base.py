"""What a task is: example ↔ row ↔ prediction, and how predictions are scored. A task knows no model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from yanmo.core.config import Part
from yanmo.core.data import Example, Prediction, Row
from yanmo.core.messages import Text

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class Task(Part):
    head: ClassVar[str] = ""  # what a model gives for it, a name of the registry kind "head": 'classify', 'language' …
    metric: ClassVar[str] = ""  # the one that model selection and comparisons use
    higher_is_better: ClassVar[bool] = True

    def files(self) -> list[Path]:
        """The files that `load` reads; their hashes are part of a stage's fingerprint."""
        return []

    def load(self, split: str) -> list[Example]:
        """The examples of 'train', 'validation' or 'test'; DataError with file and line for a bad one."""
        raise NotImplementedError

    def check(self) -> list[Text]:
        """Reads everything (DataError for what is not sound); says what is sound but suspicious, such as leakage."""
        return []

    def whole(self) -> Task:
        """The same task with data given as one path taken as test data, whole: what `yanmo evaluate --data` means."""
        return self

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """The example as rows of at most `length` tokens, the border token first."""
        raise NotImplementedError

    def decode(self, outputs: Any, example: Example) -> Prediction:
        raise NotImplementedError

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """Metric name → value; tables (per class, confusion) under names of their own."""
        raise NotImplementedError
