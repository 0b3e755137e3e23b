"""The items of an evaluation set, read as any source is read: what a corpus must not contain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from yanmo.core.config import Place, Settings
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import text
from yanmo.core.paths import expand
from yanmo.core.registry import create, resolve
from yanmo.corpus.source import RowSource, Source

KINDS = ("jsonl", "parquet", "csv", "text")  # looked through for the one that a path's ending belongs to
PARAGRAPHS = re.compile(r"\n[^\S\n]*\n\s*")


@dataclass(frozen=True)
class Item:
    """`passages`: the texts of its fields, in each of which a copy is looked for."""

    set: str
    id: str
    passages: tuple[str, ...]


class EvaluationSet(Settings):
    """`path` (file, folder, glob); `fields`: those whose text is looked for (default `text`; strings and lists of them);
    `type`: the source that reads it, by default the one that the ending says; `name`: how it is called in the record.

    Each paragraph of a plain text is an item. An item is called by its `id`, else by its number in the set."""

    path: str
    type: str | None = None
    name: str = ""
    fields: list[str] = Field(default_factory=list)

    @field_validator("path")
    @classmethod
    def _has_path(cls, path: str) -> str:
        if not path:
            raise ValueError(str(text("a file, a folder or a glob")))
        return path

    @field_validator("fields", mode="before")
    @classmethod
    def _named(cls, fields: Any) -> Any:
        """One name, a list of them, or {text: name} as sources have it."""
        return [fields] if isinstance(fields, str) else list(fields.values()) if isinstance(fields, dict) else fields

    @property
    def title(self) -> str:
        return self.name or Path(self.path).name

    def source(self) -> Source:
        kind = self.type or self._kind()
        settings: dict[str, Any] = {"type": kind, "path": self.path}
        if self.fields:
            if not issubclass(resolve("source", kind), RowSource):
                raise DataError(self.path, text("no 'fields' for a source without fields"), ", ".join(self.fields))
            settings["fields"] = {"text": self.fields[0]}
        return create("source", settings, Place("decontaminate.against"))

    def check(self) -> None:
        """DataError where it cannot be read, or no row has one of the fields."""
        self.source().check()
        self._check_fields()

    def items(self) -> Iterator[Item]:
        """Every item, in the order of the set; one that cannot be read or has no text comes without passages."""
        source = self.source()
        rows, number = isinstance(source, RowSource), 0
        for shard in source.shards():
            for doc in source.documents(shard):
                if doc.rejection is not None:
                    bodies: list[list[str]] = [[]] if doc.rejection.reason != "empty_file" else []
                elif rows:
                    bodies = [[doc.text, *self._others(doc.meta)]]
                else:
                    bodies = [[body] for body in PARAGRAPHS.split(doc.text) if body.strip()]
                for passages in bodies:
                    number += 1
                    known = doc.meta.get("id")
                    id_ = str(known) if isinstance(known, str | int) and not isinstance(known, bool) else str(number)
                    yield Item(self.title, id_, tuple(body for body in passages if body.strip()))

    def _others(self, row: dict[str, Any]) -> list[str]:
        found: list[str] = []
        for name in self.fields[1:]:
            value = row.get(name)
            if isinstance(value, str):
                found.append(value)
            elif isinstance(value, list):
                found += [part for part in value if isinstance(part, str)]
        return found

    def _check_fields(self) -> None:
        if len(self.fields) < 2:
            return
        source, seen, missing = self.source(), set[str](), set(self.fields[1:])
        for shard in source.shards():
            for doc in source.documents(shard):
                if doc.rejection is None:
                    seen |= doc.meta.keys()
                    missing -= doc.meta.keys()
                    if not missing:
                        return
        name = min(missing)
        raise DataError(self.path, text("a field '{name}'", name=name), text("none in any row"), nearest(name, seen))

    def _kind(self) -> str:
        endings: dict[str, tuple[str, ...]] = {kind: resolve("source", kind).endings for kind in KINDS}  # type: ignore[attr-defined]
        for kind, known in endings.items():
            try:
                if any(file.name.lower().endswith(known) for file in expand(self.path, known)):
                    return kind
            except DataError:
                continue
        expand(self.path)  # which says what is wrong with the path
        shown = ", ".join(ending for kind in KINDS for ending in endings[kind])
        raise DataError(self.path, text("files that end in {endings}", endings=shown), text("none"),
                        text("set type: to the source that reads them"))  # fmt: skip
