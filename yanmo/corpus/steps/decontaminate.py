"""Takes the items of evaluation sets out of a corpus: a model is not to be examined on what it has read.

A document that shares a gram with an item (13 words of English, 26 characters of Chinese, case, width, punctuation and
blanks aside) is dropped, with the set and the item as the value; or what it shares is cut out. Thirteen words are what
GPT-3's authors took, and few sentences have them in common by chance. Items below a gram are looked for as a whole from
`shortest` words on; those below that are not covered, and `coverage` names them. How much is found of items that were
copied with small changes is measured, not believed (`yanmo.corpus.copies.recall`), and stands in decontamination.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from yanmo.core.data import Document, Rejection
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.corpus.copies.contamination import Coverage, Hit, Length, Table, spans
from yanmo.corpus.copies.copies import cut
from yanmo.corpus.copies.evaluation_set import EvaluationSet, Item
from yanmo.corpus.step import RowStep

Stamp = tuple[tuple[str, int, int], ...]


class Decontaminate(RowStep):
    """Drops documents that contain items of evaluation sets, or cuts those out.

    `against`: the sets, each a path or `{path, fields, type, name}`; `words`, `characters`: how much a document has to share
    with an item, in spaced and in unspaced scripts; `shortest`: items of fewer words are not looked for; `action`: 'drop' the
    document or 'cut' what it shares, and drop it where less than `min_left` of it is left; `inject`: how many items are planted
    into documents that were kept, to measure how many are found (decontamination.json)."""

    type: str = "decontaminate"
    against: list[EvaluationSet] = Field(min_length=1)
    words: int = Field(default=13, ge=4, le=100)
    characters: int = Field(default=26, ge=4, le=200)
    shortest: int = Field(default=8, ge=1, le=100)
    action: Literal["drop", "cut"] = "drop"
    min_left: float = Field(default=0.2, ge=0, le=1)
    inject: int = Field(default=100, ge=0)

    @field_validator("against", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [{"path": item} if isinstance(item, str) else item for item in value]
        return [{"path": value} if isinstance(value, str) else value]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.shortest > self.words:
            raise ValueError(str(text("shortest of at most words ({words})", words=self.words)))
        return self

    def files(self) -> list[Path]:
        return list(dict.fromkeys(file for part in self.against for file in part.source().files()))

    def check(self) -> None:
        """DataError where a set cannot be read, or none of its items is long enough to be looked for."""
        for part in self.against:
            part.check()
        for part in self.against:
            found = self.coverage().get(part.title, Coverage())
            if found.grams + found.whole == 0:
                raise DataError(part.path, text("an item of at least {words} words or {characters} Chinese characters",
                                                words=self.shortest, characters=-(-self.length.seed // self.words)),
                                text("{count} shorter ones", count=found.items),
                                text("name the fields that hold the text, or lower 'shortest'"))  # fmt: skip

    @property
    def length(self) -> Length:
        return Length(self.words, self.characters, self.shortest)

    def items(self) -> Iterator[Item]:
        for part in self.against:
            yield from part.items()

    def table(self) -> Table:
        """The table of all sets, made once in each process."""
        stamped = tuple((str(file), status.st_size, status.st_mtime_ns) for file in self.files() if (status := file.stat()))
        return _table(self.model_dump_json(), stamped)

    def coverage(self) -> dict[str, Coverage]:
        """For each set, how many of its items are looked for, and which are not."""
        return self.table().coverage

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        table = self.table()
        for doc in docs:
            if doc.rejection is None:
                hits = table.hits(doc.text)
                if hits:
                    self._found(doc, hits, table)
            yield doc

    def _found(self, doc: Document, hits: list[Hit], table: Table) -> None:
        shorter = cut(doc.text, spans(hits, doc.text)) if self.action == "cut" else ""
        if not shorter or len(shorter) < self.min_left * len(doc.text):
            doc.rejection = Rejection(self.type, "contaminated", table.names[hits[0].item])
            return
        before = doc.meta.get("cut")
        removed = {**(before if isinstance(before, dict) else {}), self.type: len(doc.text) - len(shorter)}
        doc.text, doc.meta = shorter, {**doc.meta, "cut": removed}


@lru_cache(maxsize=4)
def _table(settings: str, stamped: Stamp) -> Table:
    step = Decontaminate.model_validate_json(settings)
    return Table(step.items(), step.length)
