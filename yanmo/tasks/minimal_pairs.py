"""Minimal pairs: of two sentences that differ in one point of grammar, does a model find the right one more probable?

    pairs.jsonl   {"sentence_good": "Who should Derek hug?", "sentence_bad": "Who should Derek hug who?",
                   "linguistics_term": "argument_structure", "UID": "…", "language": "en"}

The fields' names are those of BLiMP (Warstadt et al. 2020, arXiv:1912.00582), and of its Chinese counterparts after
renaming (`fields: {good: …, bad: …, group: …}`). A model is right where it gives the good sentence the higher
log-likelihood (pseudo-log-likelihood where it is a masked one: the comparison is within one model, so that accuracies of
both stand side by side). A tie, and a value that is not finite, count as wrong. Sums are compared, not means over tokens, as in
BLiMP: the sentences of a pair are about equally long.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from yanmo.core.config import Settings, describe
from yanmo.core.data import Example, Prediction, Row, content_id
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text, text
from yanmo.core.paths import expand, written
from yanmo.tasks.base import Task
from yanmo.tasks.records import ENDINGS, Record, records

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

GOOD, BAD = "good", "bad"


class Fields(Settings):
    """What the columns are called in the files."""

    good: str = "sentence_good"
    bad: str = "sentence_bad"
    group: str = "linguistics_term"  # results are also given for each of its values, where the rows have it
    language: str = "language"  # and for each of these


class MinimalPairs(Task):
    """Which of two sentences is the grammatical one, by their probabilities."""

    head: ClassVar[str] = "pairs"
    metric: ClassVar[str] = "accuracy"

    type: str = "minimal_pairs"
    path: str
    fields: Fields = Fields()

    def files(self) -> list[Path]:
        return expand(self.path, ENDINGS)

    def load(self, split: str = "test") -> list[Example]:
        """The pairs of `path`; it is test data whole, so the other splits are empty."""
        return list(self._read) if split == "test" else []

    def check(self) -> list[Text]:
        self.load("test")
        return []

    @cached_property
    def _read(self) -> list[Example]:
        found = [self._example(record) for file in self.files() for record in records(file)]
        if not found:
            raise DataError(written(Path(self.path)), text("pairs of sentences"), text("no rows"))
        return found

    def _example(self, record: Record) -> Example:
        values, fields = record.values, self.fields
        sentences = []
        for field in (fields.good, fields.bad):
            if field not in values:
                raise DataError(record.where, None, text("field '{field}' is missing", field=field),
                                nearest(field, [str(name) for name in values]))  # fmt: skip
            content = values[field]
            if not isinstance(content, str) or not content.strip():
                given = text("an empty one") if isinstance(content, str) else describe(content)
                raise DataError(record.where, None, text("field '{field}' expected {expected}, got {given}", field=field,
                                                         expected=text("some text"), given=given))  # fmt: skip
            sentences.append(content)
        good, bad = sentences
        if good == bad:
            raise DataError(record.where, text("two different sentences"), describe(good))
        kept = {"text": good, "bad": bad, "label": GOOD, "language": str(values.get(fields.language) or "")}
        if fields.group in values:
            kept["group"] = f"{fields.group}={values[fields.group]}"
        return Example(content_id(f"{good}\t{bad}"), kept, record.where)

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """The good sentence and the bad one, each behind the border and cut to `length` tokens."""
        return [Row([tokenizer.bos_id, *tokenizer.encode(example.fields[name])][:length], example=example.id)
                for name in ("text", "bad")]  # fmt: skip

    def decode(self, outputs: Any, example: Example) -> Prediction:
        """`outputs`: ln p of the good and of the bad sentence. Without a winner the label is None."""
        good, bad = map(float, outputs)
        label = None
        if math.isfinite(good) and math.isfinite(bad) and good != bad:
            label = GOOD if good > bad else BAD
        return Prediction(example.fields["text"], label, None, {GOOD: good, BAD: bad})

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """accuracy, by_group (name → accuracy and n), undecided."""
        groups: dict[str, list[bool]] = {}
        for example, prediction in pairs:
            groups.setdefault(example.fields.get("group", ""), []).append(prediction.label == GOOD)
        right = [hit for hits in groups.values() for hit in hits]
        return {
            "accuracy": sum(right) / max(len(right), 1),
            "by_group": {name: {"accuracy": sum(hits) / len(hits), "n": len(hits)} for name, hits in sorted(groups.items())},
            "undecided": sum(prediction.label is None for _, prediction in pairs),
        }
