"""How well a model predicts text that it has not seen: bits per byte and perplexity.

Bits per byte = (sum of -ln p over the tokens of the texts) / ln 2 / (UTF-8 bytes of the texts): it compares models with
different tokenizers, because the bytes are the same for all. A document is read from its border token on; the border
itself is no target. Documents longer than the model's context are read in windows that move on by half the context, and
each token is scored once, in the first window that reaches it, so that after the first window every token has at least
half the context before it.

Without `path` the texts are the held-out documents of the run's corpus, with results by source and by language.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from yanmo.core.config import describe
from yanmo.core.data import Example, Prediction, Row, content_id
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import text
from yanmo.core.paths import expand, written
from yanmo.tasks.base import Task
from yanmo.tasks.records import ENDINGS, records

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class LanguageModeling(Task):
    """Bits per byte and perplexity on held-out text."""

    head: ClassVar[str] = "language"
    metric: ClassVar[str] = "bits_per_byte"
    higher_is_better: ClassVar[bool] = False

    type: str = "language_modeling"
    path: str | None = None  # text files (each a document), JSONL, CSV (a row each); None: the corpus's held-out part
    field: str = "text"  # of a row

    def files(self) -> list[Path]:
        return expand(self.path, (".txt", ".md", *ENDINGS)) if self.path else []

    def load(self, split: str = "test") -> list[Example]:
        """The documents of `path`; it is test data whole, so the other splits are empty."""
        return list(self._read) if split == "test" and self.path else []

    def check(self) -> list:
        self.load("test")
        return []

    @cached_property
    def _read(self) -> list[Example]:
        found = [example for file in self.files() for example in self._documents(file)]
        if not found:
            raise DataError(str(self.path), text("some text"), text("only empty files"))
        return found

    def _documents(self, file: Path) -> Iterator[Example]:
        if file.suffix.lower() not in ENDINGS:
            try:
                content = file.read_bytes().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                remedy = text("convert the file to UTF-8")
                raise DataError(written(file), text("UTF-8 text"), str(error), remedy) from None
            if content:
                yield document(content, written(file), file.name)
            return
        for record in records(file):
            value = record.values.get(self.field)
            if self.field not in record.values:
                raise DataError(record.where, None, text("field '{field}' is missing", field=self.field),
                                nearest(self.field, [str(name) for name in record.values]))  # fmt: skip
            if not isinstance(value, str):
                raise DataError(record.where, None, text("field '{field}' expected {expected}, got {given}",
                                field=self.field, expected=text("a string"), given=describe(value)))  # fmt: skip
            if value:
                yield document(value, record.where, file.name, str(record.values.get("language") or ""))

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """Rows of at most `length` tokens; `trained` marks those that are scored in this row."""
        tokens = [tokenizer.bos_id, *tokenizer.encode(example.fields["text"])]
        rows = []
        for start, first, end in windows(len(tokens), length - 1):
            rows.append(Row(tokens[start : end + 1], [i > first for i in range(start, end + 1)], example=example.id))
        return rows

    def decode(self, outputs: Any, example: Example) -> Prediction:
        """`outputs`: nats, tokens and bytes of the document."""
        nats, tokens, size = outputs
        return Prediction("", scores={"nats": float(nats), "tokens": int(tokens), "bytes": int(size)})

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        nats, tokens, size = (math.fsum(p.scores[name] for _, p in pairs) for name in ("nats", "tokens", "bytes"))
        return {"bits_per_byte": bits_per_byte(nats, size), "perplexity": perplexity(nats, tokens),
                "tokens": int(tokens), "bytes": int(size)}  # fmt: skip


def document(content: str, where: str, source: str = "", language: str = "") -> Example:
    return Example(content_id(content), {"text": content, "source": source, "language": language}, where)


def windows(tokens: int, context: int) -> Iterator[tuple[int, int, int]]:
    """(start, first, end) over a sequence of `tokens` ids, border included: the model reads positions [start, end) and
    predicts position i + 1 at each i; the predictions made at [first, end) are the ones that count. So each position
    from 1 to tokens - 1 counts in exactly one window."""
    assert context >= 1, context
    start = first = 0
    last = tokens - 1
    while first < last:
        end = min(start + context, last)
        yield start, first, end
        first = end
        start += max(context // 2, 1)


def bits_per_byte(nats: float, size: float) -> float:
    return nats / math.log(2) / size if size else math.nan


def perplexity(nats: float, tokens: float) -> float:
    """Per token of the model's own tokenizer: not comparable between tokenizers."""
    mean = nats / tokens if tokens else math.nan
    return math.exp(mean) if mean < 700 else math.inf
