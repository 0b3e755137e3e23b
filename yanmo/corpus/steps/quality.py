"""Scores documents by a classifier that is fitted on the user's own good and bad examples, and drops by the score.

The classifier (`corpus/linear.py`) is fitted once, where the plan of the corpus is made, from the examples alone; its
weights go with the step to whatever process reads the documents. How well it tells examples that it did not see is part
of the corpus's statistics (`report`): a score is worth no more than that.

Toxicity is the same step: `{type: quality, name: toxicity, good: clean.jsonl, bad: toxic.jsonl, max_score: 0.5}`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from yanmo.core.data import Document, Rejection, content_id
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.registry import create, resolve
from yanmo.corpus.classify.linear import Fit, Linear, fit
from yanmo.corpus.dataset import Dataset
from yanmo.corpus.step import RowStep
from yanmo.corpus.words import lists

KINDS = ("jsonl", "parquet", "csv", "text")  # sources that examples come from, told by the ending of a file
FEWEST = 10  # examples of each kind
PIECE = 1000  # characters of an example that is cut out of plain text, about


class Quality(RowStep):
    """Scores documents by a classifier fitted on good and bad examples; drops those beyond a threshold.

    `good`, `bad`: files or folders of JSON lines, Parquet, CSV (one example a row; `fields: {text: body}`) or plain text
    (cut at line ends into examples of about 1,000 characters). `min_score`: the score is the probability of being good,
    and documents below it are dropped; this is the default, at 0.5. `max_score`: the score is the probability of being
    bad, and documents above it are dropped. It stays in `scores` under `name`. Of more than `examples` of a kind, that
    many are taken, by the hash of their content."""

    version: ClassVar[int] = 2

    type: str = "quality"
    good: str | list[str]
    bad: str | list[str]
    fields: dict[Literal["text"], str] = Field(default_factory=dict)
    min_score: float | None = Field(default=None, ge=0, le=1)
    max_score: float | None = Field(default=None, ge=0, le=1)
    name: str = Field(default="quality", pattern=r"^[A-Za-z]\w*$")
    examples: int = Field(default=20_000, ge=FEWEST)

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.min_score is not None and self.max_score is not None:
            raise ValueError(str(text("min_score (of being good) or max_score (of being bad), not both")))
        return self

    def files(self) -> list[Path]:
        return [file for paths in (self.good, self.bad) for file in lists.files(paths, endings())]

    def check(self) -> None:
        for paths in (self.good, self.bad):
            taken(lists.stamp(paths, endings()), tuple(self.fields.items()), FEWEST)

    def apply(self, docs: Dataset) -> Dataset:
        return docs.map(partial(self.score_rows, self.classifier()[0]))

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        return self.score_rows(self.classifier()[0], docs)

    def score_rows(self, model: Linear, docs: Iterator[Document]) -> Iterator[Document]:
        for doc in docs:
            if doc.rejection is None:
                good = model.probability(doc.text)
                score = good if self.max_score is None else round(1 - good, 4)
                doc.meta = {**doc.meta, "scores": {**doc.meta.get("scores", {}), self.name: score}}
                if self.max_score is not None and score > self.max_score:
                    doc.rejection = Rejection(self.type, f"high_{self.name}", score)
                elif self.max_score is None and score < (0.5 if self.min_score is None else self.min_score):
                    doc.rejection = Rejection(self.type, f"low_{self.name}", score)
            yield doc

    def classifier(self) -> tuple[Linear, Fit]:
        """The classifier, and how it does on examples held out."""
        return fitted(*(lists.stamp(paths, endings()) for paths in (self.good, self.bad)), tuple(self.fields.items()),
                      self.examples)  # fmt: skip

    def report(self) -> dict[str, Any]:
        """What the corpus's statistics say of this step."""
        found = self.classifier()[1]
        return {"name": self.name, "good": found.first, "bad": found.second, "held_out_accuracy": found.accuracy,
                "held_out_auc": found.auc}  # fmt: skip


@lru_cache(maxsize=8)
def fitted(good: lists.Stamp, bad: lists.Stamp, fields: tuple[tuple[str, str], ...], most: int) -> tuple[Linear, Fit]:
    return fit(taken(good, fields, most), taken(bad, fields, most))


def taken(stamp: lists.Stamp, fields: tuple[tuple[str, str], ...], most: int) -> list[str]:
    """At most `most` of the examples, those with the smallest hashes, in their order. DataError for fewer than FEWEST."""
    found = heapq.nsmallest(most, ((content_id(example), example) for example in every(stamp, dict(fields))))
    if len(found) < FEWEST:
        raise DataError(stamp[0][0], text("at least {count} examples", count=FEWEST), str(len(found)))
    return [example for _, example in found]


def every(stamp: lists.Stamp, fields: dict[str, str]) -> Iterable[str]:
    for name, size, _ in stamp:
        kind = kind_of(name)
        source = create("source", {"type": kind, "path": name, **({"blocks": False} if kind == "text" else {"fields": fields})})
        if size:
            source.check()
        for shard in source.shards():
            for doc in source.documents(shard):
                if doc.rejection is None:
                    yield from pieces(doc.text) if kind == "text" else [doc.text]


def pieces(body: str) -> Iterator[str]:
    """A text cut at line ends into pieces of PIECE characters or a little more; the last may be half as long."""
    held: list[str] = []
    size, left = 0, len(body)
    for line in body.splitlines(keepends=True):
        held.append(line)
        size, left = size + len(line), left - len(line)
        if size >= PIECE and left >= PIECE // 2:
            yield "".join(held)
            held, size = [], 0
    if not (last := "".join(held)).isspace() and last:
        yield last


def kind_of(name: str) -> str:
    return next((kind for kind in KINDS if name.lower().endswith(tuple(endings(kind)))), "text")


def endings(*kinds: str) -> list[str]:
    return [ending for kind in kinds or KINDS for ending in resolve("source", kind).endings]  # type: ignore[attr-defined]
