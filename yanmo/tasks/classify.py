"""One label for each text: sentiment, topic, intent.

    train.jsonl   {"text": "turn on the light", "label": "HassTurnOn"}
                  {"text": "is it raining", "second": "The street is dry.", "label": "no"}       a pair of texts

Labelled data is not forgiving: a broken line, a missing field, an empty text or an unknown label stops the work with
the file and the line. What is sound but suspicious (texts of the test part that were seen in training, labels without
training rows) is said by `check`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from yanmo.core.config import PartOf, describe
from yanmo.core.data import Example, Prediction, Row
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text, text
from yanmo.tasks.labelled import Fields, bad, examples_of, inputs_id, label_text, labels_of
from yanmo.tasks.offenders import Offenders, leak
from yanmo.tasks.prompting import Prompt
from yanmo.tasks.records import Record, records
from yanmo.tasks.splits import SplitTask, folded

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class Classify(SplitTask):
    """One label for each text or pair of texts, from JSON lines, CSV, or a published layout (GLUE, CLUE, folders)."""

    head: ClassVar[str] = "classify"
    metric: ClassVar[str] = "macro_f1"

    type: str = "classify"
    fields: Fields = Fields()
    layout: Annotated[Any, PartOf("layout")] = None  # how files that are no such tables name their columns and splits
    labels: list[str] | None = None  # the label set, in the order of tables; None: the training labels, sorted
    folds: int | None = Field(None, ge=2, description="so many parts of the training and validation texts: one validates")
    fold: int | None = Field(None, ge=0, description="which of them, from 0")
    prompt: Prompt | None = None  # how models without these labels are asked for them; None: they are not
    augment: Annotated[list[Any], PartOf("augment")] = Field(default_factory=list)  # copies of training rows, changed

    @model_validator(mode="after")
    def _some_fold(self) -> Classify:
        if (self.folds is None) != (self.fold is None) or (self.fold or 0) >= (self.folds or 1):
            raise ValueError(str(text("'folds' and a 'fold' below it, or neither")))
        return self

    @field_validator("labels", mode="before")
    @classmethod
    def _names(cls, labels: Any) -> Any:
        if not isinstance(labels, list | tuple):
            return labels
        names = [label_text(label) or "" for label in labels]
        if len(set(names)) < max(len(names), 2) or "" in names:
            raise ValueError("at least two labels, each written once")
        return names

    # ------------------------------------------------------------------------------------------------ files

    def labelled(self, names: Sequence[str]) -> Classify:
        """The same task with its label set given: a label of the data that is not among them is a DataError."""
        return self.changed(labels=list(names))

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        return super()._files if self.layout is None else self.layout.files(self.path)

    @cached_property
    def _read(self) -> dict[str, list[Example]]:
        """The examples of each split that has files, with the labels still unchecked."""
        return {split: self._examples(files) for split, files in self._files.items()}

    def _examples(self, files: list[Path]) -> list[Example]:
        found = [record for file in files for record in (self.layout.records(file) if self.layout else records(file))]
        return examples_of(found, files, self.fields, self._label_of)

    def _label_of(self, record: Record, offenders: Offenders) -> dict[str, Any] | None:
        """What an example keeps of its label; None for one that is none."""
        label = label_text(record.values[self.fields.label])
        if not label:
            bad(offenders, record, self.fields.label, text("a label"), describe(record.values[self.fields.label]))
        return {"label": label} if label else None

    # ------------------------------------------------------------------------------------------------ splits and labels

    def names(self) -> list[str]:
        """The label set: as given, else that of the training data (of the test data without any), sorted."""
        return list(self._names_found)

    @cached_property
    def _names_found(self) -> list[str]:
        if self.labels is not None:
            return self.labels
        source = next(iter(self._read.values()))
        names = sorted({label for example in source for label in labels_of(example)}, key=label_order)
        if len(names) < 2 and "train" in self._read:
            place = self.path["train"] if isinstance(self.path, dict) else self.path
            given = text("only '{label}'", label=names[0])
            raise DataError(place, text("at least two labels in the training data"), given)
        return names

    def examples(self) -> dict[str, list[Example]]:
        names = self.names()
        for examples in self._read.values():
            self.require(examples, names)
        return self._read

    def divided(self) -> dict[str, list[Example]]:
        found = super().divided()
        if self.folds is not None and self.fold is not None:
            rest, found["validation"] = folded([*found["train"], *found["validation"]], self.folds, self.fold)
            found["train"] = rest
        return {**found, "train": augmented(found["train"], self.augment)}

    def require(self, examples: Iterable[Example], names: Sequence[str]) -> None:
        """DataError for the first example whose label is not among `names`."""
        known = set(names)
        offenders = Offenders()
        for example in examples:
            for label in labels_of(example):
                if label not in known:
                    given = text("field '{field}' expected one of {labels}, got '{label}'",
                                 field=self.fields.label, labels=_listed(names), label=label)  # fmt: skip
                    offenders.add("label", example.where, None, given, _close(label, names), brief=f"'{label}'")
        offenders.raise_any()

    def check(self) -> list[Text]:
        train = self.load("train")
        found: list[Text] = []
        seen = {inputs_id(example): example.where for example in reversed(train)}
        for split in ("validation", "test"):
            examples = self.load(split)
            again = [(e.where, seen[inputs_id(e)]) for e in examples if inputs_id(e) in seen]
            if again:
                found.append(leak(split, again, len(examples)))
        if train:
            counts = Counter(label for example in train for label in labels_of(example))
            absent = [name for name in self.names() if not counts[name]]
            if absent:
                found.append(text("no training row has the label {labels}", labels=_listed(absent)))
            both = _contradictions(train)
            if both:
                found.append(text("{count} training texts stand there with two labels (first: {where} and {other})",
                                  count=len(both), where=both[0][0], other=both[0][1]))  # fmt: skip
        return found

    # ------------------------------------------------------------------------------------------------ model side

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """One row: the text's tokens (of a pair both texts', with their types) in the tokenizer's frame, at most `length`; the
        label as an index of `names()`, or None."""
        tokens, types, _ = pair_tokens(example.fields["text"], example.fields.get("second"), tokenizer, length)
        return [Row(tokens, label=self._target(example), example=example.id, types=types)]

    def _target(self, example: Example) -> Any:
        label = example.fields.get("label")
        return None if label is None else self._index[label]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names())}

    def decode(self, outputs: Any, example: Example, names: Sequence[str] | None = None) -> Prediction:
        """`outputs`: the probability of each label (L,), in the order of `names` (the task's own unless given)."""
        return decide(example.fields["text"], self.names() if names is None else names, outputs)

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """accuracy, macro_f1, ece (expected calibration error; None without probabilities), per_class, confusion.

        A prediction without a label is wrong: in `confusion` it stands in one more column, after those of the labels.
        """
        from yanmo.text.metrics import calibration, f1

        names = self.names()
        classes = [*names, ""]
        true = f1.numbers([example.fields["label"] for example, _ in pairs], classes)
        given = f1.numbers([prediction.label or "" for _, prediction in pairs], classes)
        table = f1.confusion(true, given, len(classes))
        per_class = f1.per_class(table, classes)[:-1]
        occurring = [row["f1"] for row, seen in zip(per_class, table.sum(0) + table.sum(1)) if seen]
        answered = [(e, p) for e, p in pairs if p.score is not None]
        error = calibration.expected_calibration_error(
            [p.score for _, p in answered], [p.label == e.fields["label"] for e, p in answered]
        )
        return {
            "accuracy": float(f1.accuracy(table)), "macro_f1": sum(occurring) / max(len(occurring), 1),
            "ece": error if answered else None,
            "per_class": per_class, "confusion": table[:-1].tolist(), "undecided": int(table[:, -1].sum()),
        }  # fmt: skip


def decide(content: str, names: Sequence[str], outputs: Any) -> Prediction:
    """The most probable label. A tie for the first place or a value that is not finite decides nothing: label None."""
    values = [float(value) for value in outputs]
    assert len(values) == len(names), f"{len(values)} scores for {len(names)} labels"
    scores = dict(zip(names, values))
    if not all(map(math.isfinite, values)):
        return Prediction(content)
    best = max(values)
    if values.count(best) > 1:
        return Prediction(content, None, best, scores)
    return Prediction(content, names[values.index(best)], best, scores)


def row_tokens(content: str, tokenizer: Tokenizer, length: int) -> tuple[list[int], int]:
    """The first tokens of the text with the marks that its tokenizer puts around texts, else behind the border, together at
    most `length`, and how many tokens that cut off."""
    tokens = tokenizer.encode(content)
    around = len(tokenizer.add_special([]).ids)
    if not around:
        return [tokenizer.bos_id, *tokens[: length - 1]], max(len(tokens) + 1 - length, 0)
    room = max(length - around, 0)
    return tokenizer.add_special(tokens[:room]).ids, max(len(tokens) - room, 0)


def pair_tokens(content: str, second: str | None, tokenizer: Tokenizer, length: int) -> tuple[list[int], list[int] | None, int]:
    """`row_tokens` of a text, or of a pair of texts as one row with the type of each token (0, 1): [CLS] a [SEP] b [SEP], or what
    the tokenizer puts around pairs. Of a pair that is too long the longer text is cut, token by token."""
    if second is None:
        tokens, cut = row_tokens(content, tokenizer, length)
        return tokens, None, cut
    first, other = tokenizer.encode(content), tokenizer.encode(second)
    border = [] if tokenizer.add_special([]).ids else [tokenizer.bos_id]
    room = max(length - len(tokenizer.add_special([], []).ids) - len(border), 0)
    cut = max(len(first) + len(other) - room, 0)
    first = first[: max(room - len(other), room - room // 2)]
    other = other[: room - len(first)]
    framed = tokenizer.add_special(first, other)
    return [*border, *framed.ids], [*([0] * len(border)), *framed.types], cut


def augmented(examples: list[Example], parts: Sequence[Any]) -> list[Example]:
    """The examples, and behind them what each part makes of them."""
    return [*examples, *(made for part in parts for made in part.copies_of(examples))]


def label_order(label: str) -> tuple[float, str]:
    """Numbers by value, then names by code point."""
    try:
        value = float(label)
    except ValueError:
        value = math.inf
    return (value if math.isfinite(value) else math.inf, label)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:12]) + (f", … ({len(names)})" if len(names) > 12 else "")


def _close(label: str, names: Sequence[str]) -> Text | None:
    remedy = nearest(label, names)
    return remedy if "name" in remedy.values else None  # the list of all stands in the message already


def _contradictions(examples: list[Example]) -> list[tuple[str, str]]:
    first: dict[str, Example] = {}
    found = []
    for example in examples:
        other = first.setdefault(inputs_id(example), example)
        if other.fields["label"] != example.fields["label"]:
            found.append((other.where, example.where))
    return found
