"""Texts that belong together: a question and what answers it, a sentence and its translation, two ways to say one thing.

    pairs.jsonl   {"text": "turn on the light", "second": "把灯打开"}

A model turns each text into a vector; of all second texts of a split, the nearest to the first by the cosine should be its
own. `mrr` is the mean of 1/rank (Voorhees 1999), `accuracy` the share at rank 1. Second texts that are equal have one rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.config import Settings, describe
from yanmo.core.data import Example, Prediction, Row, content_id
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text, text
from yanmo.tasks.classify import row_tokens
from yanmo.tasks.offenders import Offenders, leak
from yanmo.tasks.records import Record, records
from yanmo.tasks.splits import SplitTask

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class Fields(Settings):
    """What the columns are called in the files."""

    text: str = "text"
    second: str = "second"
    group: str = "language"  # results are also given for each of its values, where the rows have it


class Embedding(SplitTask):
    """Which texts belong together, by the nearness of their vectors."""

    head: ClassVar[str] = "embed"
    metric: ClassVar[str] = "mrr"

    type: str = "embedding"
    fields: Fields = Fields()

    def examples(self) -> dict[str, list[Example]]:
        offenders = Offenders()
        found = {split: [example for file in files for record in records(file)
                         if (example := self._example(record, offenders)) is not None]
                 for split, files in self._files.items()}  # fmt: skip
        offenders.raise_any()
        for split, examples in found.items():
            if not examples:
                raise DataError(self.origin(split), text("pairs of texts"), text("no rows"))
        return found

    def _example(self, record: Record, offenders: Offenders) -> Example | None:
        kept: dict[str, Any] = {}
        for name, field in (("text", self.fields.text), ("second", self.fields.second)):
            value = record.values.get(field)
            if field not in record.values:
                offenders.add(f"no {name}", record.where, None, text("field '{field}' is missing", field=field),
                              nearest(field, [str(name) for name in record.values]))  # fmt: skip
                return None
            if not isinstance(value, str) or not value.strip():
                given = text("an empty one") if isinstance(value, str) else describe(value)
                offenders.add(f"bad {name}", record.where, None, text("field '{field}' expected {expected}, got {given}",
                              field=field, expected=text("some text"), given=given))  # fmt: skip
                return None
            kept[name] = value
        if isinstance(group := record.values.get(self.fields.group), str) and group:
            kept["group"] = f"{self.fields.group}={group}"
        return Example(content_id(f"{kept['second']}\t{kept['text']}"), kept, record.where)

    def check(self) -> list[Text]:
        train = self.load("train")
        seen = {content_id(example.fields["text"].strip()): example.where for example in reversed(train)}
        found: list[Text] = []
        for split in ("validation", "test"):
            examples = self.load(split)
            again = [e for e in examples if content_id(e.fields["text"].strip()) in seen]
            if again:
                rows = [(e.where, seen[content_id(e.fields["text"].strip())]) for e in again]
                found.append(leak(split, rows, len(examples)))
        return found

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """Two rows, the first text's and the second's, each as a text is read when it is embedded."""
        return [Row(row_tokens(example.fields[name], tokenizer, length)[0], example=example.id) for name in ("text", "second")]

    def decode(self, outputs: Any, example: Example) -> Prediction:
        """`outputs`: (cosine with its own second text, rank of that among all)."""
        cosine, rank = outputs
        return Prediction(example.fields["text"], score=float(cosine), scores={"rank": float(rank)})

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """mrr, accuracy, n. A rank that is not finite is worth nothing."""
        ranks = np.array([prediction.scores.get("rank", np.inf) for _, prediction in pairs])
        worth = np.where(np.isfinite(ranks), 1 / np.maximum(ranks, 1), 0.0)
        return {"mrr": float(worth.mean()) if len(worth) else 0.0, "accuracy": float((ranks == 1).mean()) if len(ranks) else 0.0,
                "n": len(pairs)}  # fmt: skip


def ranked(firsts: Any, seconds: Any, contents: list[str]) -> list[tuple[float, float]]:
    """For vectors (N, D) of first and second texts: (cosine with its own, rank of that among the second texts that differ); a
    tie with another counts against it, and where a cosine is not finite the rank is infinite."""
    a, b = (np.asarray(given, np.float64) for given in (firsts, seconds))
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (given / np.linalg.norm(given, axis=-1, keepdims=True) for given in (a, b))
    _, first, same = np.unique(contents, return_index=True, return_inverse=True)
    found = []
    for index in range(len(a)):
        cosines = b[first] @ a[index]  # one for each second text that differs
        own = float(cosines[same[index]])
        ahead = int((cosines >= own).sum())
        found.append((own, float(ahead) if np.isfinite(cosines).all() else float("inf")))
    return found
