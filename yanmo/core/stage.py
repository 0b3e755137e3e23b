"""A stage: one step of a recipe that reads earlier stages' outputs and leaves a folder of files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from yanmo.core.config import Part

if TYPE_CHECKING:
    from yanmo.core.run import Run


@dataclass(frozen=True)
class Input:
    """One thing a stage takes: its role there, and the stage (by name) or the path (outside the run) that gives it."""

    role: str
    stage: str | None = None
    path: Path | None = None


class Stage(Part):
    """A stage's settings; `run` does its work.

    `takes` names the roles that it reads: 'corpus', 'tokenizer', 'model' (the nearest earlier stage that gives the role,
    unless the field of that name says otherwise) or 'models' (every earlier one). `gives` is the role it fills.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[frozenset[str]] = frozenset()  # of `takes`: those that may be missing
    named: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # of `takes`: those that a recipe must name, and what gives them
    gives: ClassVar[str] = ""
    keeps: ClassVar[tuple[str, ...]] = ()  # names in its folder that a change of settings does not make useless
    wraps: ClassVar[str] = ""  # the field (and registry kind) of the one part that a recipe writes as the stage's own keys

    @property
    def together(self) -> bool:
        """Whether all of a run's processes work on it (`core/crew.py`); else the first one does."""
        return False

    @property
    def weight(self) -> float:
        """This stage's share of a recipe's budget, relative to the other stages'; 0: it takes what it takes."""
        return 0.0

    def needs(self, text_bytes: int) -> float:
        """About how many seconds of a budget have to be left for this stage, which does not plan them itself, after so many bytes
        of training text."""
        return 0.0

    def files(self) -> list[Path]:
        """The files outside the run that the work reads; their hashes are part of the fingerprint."""
        return []

    def settled(self, models: Collection[str]) -> Self:
        """Itself, once it is known what the stages before it are called that give a model: where one word of a recipe may mean a
        stage or a part."""
        return self

    def check(self) -> None:
        """Looks at the data that the work will read; raises a RequestError for what is not sound. Writes nothing."""

    def survey(self) -> dict[str, Any]:
        """What a sample of the data shows, and what the whole will take: for `yanmo check`. Nothing where there is no data."""
        return {}

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        """Does the work in `folder` (which may hold an interrupted try's files) and returns output name → file or folder
        in it. Outputs must depend only on settings, seed, inputs and files; timings belong in files not listed here."""
        raise NotImplementedError
