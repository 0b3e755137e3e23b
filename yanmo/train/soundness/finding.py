"""What the doctor looks at, and what it says: a patient and findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core.errors import RequestError, YanmoError
from yanmo.core.messages import Text

if TYPE_CHECKING:
    from torch import nn

    from yanmo.core.data import Example, Row
    from yanmo.corpus.tokens import Split
    from yanmo.objectives.base import Objective
    from yanmo.text.tokenizer import Tokenizer
    from yanmo.train.job import Batches
    from yanmo.train.plan.memory import Memory
    from yanmo.train.settings import Train

SOUND, NOTE, WARN, DOOMED = "sound", "note", "warn", "doomed"
VERDICTS = (SOUND, NOTE, WARN, DOOMED)  # from best to worst


@dataclass(frozen=True)
class Finding:
    """What one examination found. `verdict`: 'sound', 'note' (worth knowing), 'warn' (the run goes on), 'doomed' (it would
    fail, waste its time, or give something else than was asked for). `figures`: what was measured, plain data."""

    verdict: str
    where: str | Text = ""
    expected: str | Text | None = None
    given: str | Text | None = None
    remedy: str | Text | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    examination: str = ""  # filled in by the doctor
    kind: type[YanmoError] = RequestError  # of error, where the training is refused for it

    def line(self, language: str | None = None) -> str:
        """One line: where, what was expected, what was found, what to do."""
        return YanmoError(self.where, self.expected, self.given, self.remedy).render(language)

    def data(self) -> dict[str, Any]:
        said = {} if self.expected is None and self.given is None else {"line": self.line()}
        return {"examination": self.examination, "verdict": self.verdict, **said, "figures": self.figures}


@dataclass
class Labelled:
    """The labelled rows of a fine-tuning: examples beside what they became."""

    task: Any
    names: list[str]
    train: list[Example]
    rows: list[Row]
    held_out: list[Example]
    test: list[Example]
    length: int  # tokens of a row, at most
    lengths: list[int]  # of each training text before it was cut


@dataclass
class Patient:
    """A training before its first step: all that is known of it. `build` makes the model as it will begin."""

    where: str  # the stage
    train: Train
    plan: dict[str, Any]
    objective: Objective  # bound
    tokenizer: Tokenizer
    build: Callable[[], nn.Module]
    batches: Batches | None
    folder: Path  # where checkpoints will lie
    corpus: str = ""  # what messages call the text
    split: Split | None = None
    held_out: Split | None = None
    labelled: Labelled | None = None
    model: nn.Module | None = None  # where it is there already
    memory: Memory | None = None  # once it was planned
    vocabulary: int | None = None  # of the model, where the tokenizer at hand is a sample's and smaller
    epoch_tokens: int | None = None  # of the training text, where `split` is a sample of it
    width: int | None = None  # of the model, where the plan does not hold it
    sampled: bool = False  # whether the text is a sample of what the run will read

    @property
    def steps(self) -> int:
        return int(self.plan["steps"])

    @property
    def context(self) -> int | None:
        return self.plan.get("context")

    @property
    def size(self) -> int:
        """Tokens in the model's vocabulary."""
        return self.vocabulary or self.tokenizer.size

    @property
    def text_tokens(self) -> int:
        """Tokens of an epoch of the whole text."""
        assert self.split is not None
        return self.epoch_tokens or len(self.split)


@dataclass(frozen=True)
class Sample:
    """What `yanmo check` knows beside a sample: how much larger the whole is, the vocabulary that it will have, and the training
    (not yet run) whose model a fine-tuning starts from."""

    scale: float = 1.0
    vocabulary: int | None = None
    start: Patient | None = None
