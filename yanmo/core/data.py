"""The data types that cross layers: documents, rows, examples, predictions.

    file --source--> Document --steps--> Document (kept, dropped or quarantined) --tokenizer--> tokens
    labelled file --task--> Example --task.encode--> Row --objective.collate--> Batch;  model --task.decode--> Prediction
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import xxhash


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a text was read: bytes [start, end) of the decompressed `member` of `file` (member: None for a plain file).

    For columnar files, where bytes mean little, start and end are row numbers.
    """

    file: str
    member: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a step dropped a document: `step.reason`, and the value that decided."""

    step: str
    reason: str
    value: float | str | None = None


@dataclass(slots=True)
class Document:
    """One text with its content id, its origin (set by the source alone) and what the steps learned about it.

    `id` is `content_id` of the text *as read*; edits change `text`, never `id` or `origin`. A dropped document flows on
    to the writer with `rejection` set, and later steps skip it. `source` is the source's name in the recipe; `order` is
    the document's place in the one global order of the corpus, set by the engine as the document is read.
    """

    id: str
    text: str
    origin: Origin
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    rejection: Rejection | None = None
    order: int = 0
    cache: Any = field(default=None, compare=False, repr=False)  # worked out of this very text: `corpus/words/words.py`


def content_id(text: str) -> str:
    """The 128-bit xxh3 of the text's UTF-8 bytes, in hexadecimal (32 characters); lone surrogates are kept distinct."""
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled item of a task: `fields` as the task names them ('text', 'label', …) and the place for messages."""

    id: str
    fields: dict[str, Any]
    where: str = ""


Place = tuple[int, int]  # the characters [start, end) of a text


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded example (or a window of a long one): token ids, which of them are trained on, and what an objective needs
    beside.

        head       label                                          trained
        classify   the label's number                             None
        tag        a tag's number for each token (-1: none)       tokens whose tag counts
        span       numbers of the answer's first and last token   tokens that can be one of those, and the mark that stands
                                                                  for no answer
        text       None                                           tokens of the answer, and its end

    `label` is None where nobody knows the answer. `types`: the sentence (0 or 1) of each token; `places`: the characters of
    the text that each token stands for, None for marks (`text/windows.py` makes both).
    """

    tokens: list[int]
    trained: list[bool] | None = None
    label: Any = None
    example: str = ""
    types: list[int] | None = None
    places: list[Place | None] | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of a text, and what they are called ('PER', 'ORG', …)."""

    start: int
    end: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one text: a label with its probability (and all of them), labelled spans, or an answer.

    `answer` is '' where the model says that there is none, and None where the task asks for no answer.
    """

    text: str
    label: str | None = None
    score: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    answer: str | None = None
    labels: tuple[str, ...] | None = None  # of a task with any number of them; None where nothing was decided
