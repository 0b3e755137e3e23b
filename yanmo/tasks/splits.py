"""Which files are training, validation and test data: what the tasks have in common whose examples stand in files.

`path` is a file, a folder, a glob, or `{train, validation, test}` of those; a folder with files named after splits
(`train.jsonl`, `dev.jsonl`, `test.zh`) is such a mapping already. A split without files of its own is carved from the training
data by the hash of the text, so that equal texts never stand on both sides and appended data moves nothing that was there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from yanmo.core.data import Example, content_id
from yanmo.core.messages import text
from yanmo.core.paths import expand, written
from yanmo.tasks.base import Task
from yanmo.tasks.labelled import inputs_id, joined
from yanmo.tasks.records import ENDINGS

SPLITS = ("train", "validation", "test")
STEMS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "dev": "validation",
         "test": "test"}  # fmt: skip


class SplitTask(Task):
    """A task with training, validation and test data. A kind of it says what stands in the files: `examples`."""

    endings: ClassVar[tuple[str, ...]] = ENDINGS  # of files that are taken from folders

    path: str | dict[str, str]
    validation: float = Field(0.1, ge=0, lt=1, description="share of the training data, where `path` names no validation files")
    test: float = Field(0.1, ge=0, lt=1, description="the same for test")

    @field_validator("path")
    @classmethod
    def _splits(cls, path: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(path, dict) and (not path or set(path) - set(SPLITS)):
            raise ValueError(str(text("a path, or paths under 'train', 'validation' and 'test'")))
        return path

    def examples(self) -> dict[str, list[Example]]:
        """The examples of each split that has files; DataError for what is not sound."""
        raise NotImplementedError

    def files(self) -> list[Path]:
        return sorted({file for found in self._files.values() for file in found})

    def load(self, split: str) -> list[Example]:
        assert split in SPLITS, split
        return list(self._split[split])

    def whole(self) -> Self:
        if len(self._files) > 1 or "test" in self._files:
            return self
        return self.changed(path={"test": self.path if isinstance(self.path, str) else next(iter(self.path.values()))})

    def changed(self, **settings: Any) -> Self:
        """The same task with other settings; not `model_copy`, which would carry along what was read."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | settings)

    def origin(self, split: str) -> str:
        """The files of a split, for messages."""
        files = self._files[split]
        return ", ".join(map(written, files[:3])) + (", …" if len(files) > 3 else "")

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        return split_files(self.path, self.endings)

    @cached_property
    def _split(self) -> dict[str, list[Example]]:
        return self.divided()

    def divided(self) -> dict[str, list[Example]]:
        """The examples of every split."""
        found = dict(self.examples())
        rest = found.get("train", [])
        for split, share in (("test", self.test), ("validation", self.validation)):
            if split not in found:
                found[split], rest = carve(rest, share, split)
        return {**found, "train": rest}


def split_files(path: str | dict[str, str], endings: Iterable[str]) -> dict[str, list[Path]]:
    """Split → its files, in the order train, validation, test. One path is 'train', unless the files are named after splits."""
    if isinstance(path, dict):
        return {split: expand(path[split], endings) for split in SPLITS if split in path}
    found: dict[str, list[Path]] = {}
    for file in expand(path, endings):
        found.setdefault(STEMS.get(file.name.split(".")[0].lower(), ""), []).append(file)
    if "train" in found and len(found) > 1 and "" not in found:
        return {split: found[split] for split in SPLITS if split in found}
    return {"train": sorted(file for group in found.values() for file in group)}


def carve(examples: list[Example], share: float, purpose: str) -> tuple[list[Example], list[Example]]:
    """(the part, the rest): by the hash of the stripped text; neither is empty where there are two texts or more."""

    def place(example: Example) -> str:
        return content_id(f"{purpose}\t{joined(example)}")

    places = {place(example) for example in examples}
    if not share or len(places) < 2:
        return [], examples
    bound = min(max(f"{int(share * (1 << 128)):032x}", min(places) + "0"), max(places))
    taken = [e for e in examples if place(e) < bound]
    return taken, [e for e in examples if place(e) >= bound]


def folded(examples: list[Example], count: int, which: int) -> tuple[list[Example], list[Example]]:
    """(the rest, the part) of `count` parts of equal inputs' hash: equal texts are in one part."""
    taken = [int(inputs_id(example), 16) % count == which for example in examples]
    return [e for e, t in zip(examples, taken) if not t], [e for e, t in zip(examples, taken) if t]
