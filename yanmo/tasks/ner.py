"""Named entities: which characters of a text name something, and what kind of thing.

    {"text": "Marie Curie in Paris", "spans": [{"start": 0, "end": 11, "label": "PER"}, {"start": 15, "end": 20, "label": "LOC"}]}

`path` is a file, a folder, a glob, or `{train, validation, test}` of those, in one of four formats (`tasks/readers/`): JSON
lines with spans, columns (CoNLL: BIO, BIOES, BMES, by words or by characters), brat, or words with parts of speech. A split
without a path of its own is carved from the training files by the hash of the text.

Entities are characters [start, end) of the text as it is, in what is read, in what is predicted and in what is scored,
whatever the tokenizer. A model gives each token a tag (`text/tags.py`), and every token of an entity has one: the first
that touches it B-, the others I-, also within a word. What it says is decoded to the most probable sequence of tags that the
scheme can write, over the whole of a text, and the characters from an entity's first token to its last are the entity,
without spaces at the ends. So an entity that begins or ends within a token can never be found exactly (`reachable`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import field_validator

from yanmo.core.data import Example, Prediction, Row, Span, content_id
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text, text
from yanmo.core.paths import written
from yanmo.tasks.offenders import SHOWN, Offenders
from yanmo.tasks.readers import brat, columns, spans, word_tags
from yanmo.tasks.readers.kinds import ENDINGS, PLAIN, Format, format_of
from yanmo.tasks.readers.tagged import Overlaps, Reading, Tagged
from yanmo.tasks.splits import SplitTask
from yanmo.text import tags
from yanmo.text.metrics import entities
from yanmo.text.potentials import Potentials
from yanmo.text.tags import Grammar, Scheme
from yanmo.text.windows import trimmed, windows

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class Ner(SplitTask):
    """Named entities in texts, from JSON lines with spans, CoNLL columns, brat or word/tag lines."""

    head: ClassVar[str] = "tag"
    metric: ClassVar[str] = "entity_f1"

    endings: ClassVar[tuple[str, ...]] = (*ENDINGS, PLAIN)

    type: str = "ner"
    format: Format | None = None  # of the files; None: by their endings, of a .txt by what stands in it
    fields: spans.Fields | None = None  # what is called how in JSON lines
    entities: dict[str, str] | None = None  # the types that are wanted → what they are called; None: all, as they are
    labels: list[str] | None = None  # the types, in the order of tables; None: those of the training data, sorted
    scheme: Scheme = "bio"  # of the tags that a model learns
    repair: bool = False  # columns: read tags that their scheme cannot mean as conlleval does, instead of refusing them
    overlaps: Overlaps = "error"  # or 'longest': of entities that overlap the longest is kept

    @field_validator("labels")
    @classmethod
    def _types(cls, labels: list[str] | None) -> list[str] | None:
        if labels is not None and (not labels or len(set(labels)) < len(labels) or "" in labels):
            raise ValueError("at least one type of entities, each written once")
        return labels

    # ------------------------------------------------------------------------------------------------ files

    def files(self) -> list[Path]:
        found = set(super().files())
        beside = {file.with_suffix(PLAIN) for file in found if file.suffix.lower() == ".ann"}
        return sorted(found | {file for file in beside if file.is_file()})

    def labelled(self, names: Sequence[str]) -> Ner:
        """The same task with the types of a model's tags: an entity of another type in the data is a DataError."""
        return self.changed(labels=tags.types(names))

    @cached_property
    def _read(self) -> dict[str, list[Tagged]]:
        """The texts of each split that has files, with the types of their entities still unchecked."""
        reading = Reading(self.overlaps, self.entities)
        found = {split: [item for file in files for item in self._one(file, reading)] for split, files in self._files.items()}
        reading.offenders.raise_any()
        for split, items in found.items():
            if not items:
                raise DataError(self.origin(split), text("labelled texts"), text("no rows"))
        for name in self.entities or ():
            if name not in reading.seen:
                raise DataError("ner.entities", text("types of entities that the data has"), name, nearest(name, reading.seen))
        return found

    def _one(self, file: Path, reading: Reading) -> list[Tagged]:
        form = self.format or format_of(file)
        for name, given, only in (("repair", self.repair, "columns"), ("fields", self.fields is not None, "spans")):
            if given and form not in (only, None):
                raise DataError(f"ner.{name}", text("files in the format '{format}'", format=only), f"{written(file)}: {form}")
        if form == "spans":
            return spans.read(file, reading, self.fields or spans.Fields())
        if form == "columns":
            return columns.read(file, reading, self.repair)
        if form == "word_tags":
            return word_tags.read(file, reading)
        if form == "brat" and file.suffix.lower() == ".ann":
            return brat.read(file, reading)
        if form == "brat" and not file.with_suffix(".ann").is_file():
            beside = text("{name} beside it", name=file.with_suffix(".ann").name)
            reading.offenders.add("ann", written(file), beside, text("none"))
        return []

    # ------------------------------------------------------------------------------------------------ splits and types

    def types(self) -> list[str]:
        """The types of entities: as given, else those of the training data (of the test data without any), sorted."""
        if self.labels is not None:
            return list(self.labels)
        split, items = next(iter(self._read.items()))
        names = sorted({span.label for item in items for span in item.spans})
        if not names:
            raise DataError(self.origin(split), text("at least one entity"), text("none"))
        return names

    def names(self) -> list[str]:
        """The tags, in the order of a model's scores."""
        return tags.names(self.types(), self.scheme)

    def examples(self) -> dict[str, list[Example]]:
        names = self.types()
        offenders = Offenders()
        for items in self._read.values():
            for item in items:
                for span in item.spans:
                    if span.label not in names:
                        expected = text("an entity of the types {names}", names=", ".join(f"'{name}'" for name in names[:12]))
                        given = f"'{span.label}' [{span.start}, {span.end})"
                        offenders.add("unseen", item.where, expected, given, _close(span.label, names))
        offenders.raise_any()
        return {split: [_example(item) for item in items] for split, items in self._read.items()}

    def check(self) -> list[Text]:
        train = self.load("train")
        found: list[Text] = []
        seen = {content_id(example.fields["text"].strip()): example.where for example in reversed(train)}
        for split in ("validation", "test"):
            examples = self.load(split)
            again = [e for e in examples if content_id(e.fields["text"].strip()) in seen]
            if again:
                rows = [f"{e.where} = {seen[content_id(e.fields['text'].strip())]}" for e in again[:SHOWN]]
                found.append(text("{split}: {count} of {total} texts also stand in the training data ({rows})", split=split,
                                  count=len(again), total=len(examples),
                                  rows=", ".join(rows) + ", …" * (len(again) > SHOWN)))  # fmt: skip
        if train:
            counts = Counter(span.label for example in train for span in example.fields["spans"])
            absent = [name for name in self.types() if not counts[name]]
            if absent:
                found.append(text("no training text has an entity {labels}", labels=", ".join(f"'{name}'" for name in absent)))
            both = _contradictions(train)
            if both:
                found.append(text("{count} training texts stand there with other entities elsewhere (first: {where} and {other})",
                                  count=len(both), where=both[0][0], other=both[0][1]))  # fmt: skip
        items = [item for group in self._read.values() for item in group]
        for amount, said in (("trimmed", text("{count} entities had spaces at their ends, which were left out",
                                              count=sum(item.trimmed for item in items))),
                             ("dropped", text("{count} entities overlap longer ones and were left out",
                                              count=sum(item.dropped for item in items)))):  # fmt: skip
            if any(getattr(item, amount) for item in items):
                found.append(said)
        return found

    # ------------------------------------------------------------------------------------------------ model side

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """The windows of the text, with the number of each token's tag where this window is the one that counts for it (-1
        elsewhere); without labels where the example has no spans."""
        found = windows(example.fields["text"], tokenizer, length)
        known = example.fields.get("spans")
        if known is None:
            return [window.row(None, list(window.own), example.id) for window in found]
        places = [place for window in found for place, own in zip(window.places, window.own) if own and place]
        marked = iter(tags.marked(places, [(s.start, s.end, s.label) for s in known], self.scheme))
        rows = []
        for window in found:
            label = [self._index[next(marked)] if own else -1 for own in window.own]
            rows.append(window.row(label, list(window.own), example.id))
        return rows

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names())}

    def decode(self, outputs: Any, example: Example, names: Sequence[str] | None = None,
               chain: Potentials | None = None) -> Prediction:  # fmt: skip
        """`outputs`: (start, end, probabilities (L,)) for the tokens that count, in the order of the text; L in the order of
        `names` (the task's own unless given). With a `chain`, scores stand for the probabilities, which it makes of them."""
        return decide(example.fields["text"], self.names() if names is None else names, outputs, chain)

    def reachable(self, example: Example, tokenizer: Tokenizer) -> int:
        """How many of the example's entities a model with this tokenizer could find exactly: decoding the true tags finds
        them."""
        places = [place for start, end in tokenizer.offsets(example.fields["text"])
                  if (place := trimmed(example.fields["text"], start, end))]  # fmt: skip
        wanted = example.fields["spans"]
        true = tags.marked(places, [(s.start, s.end, s.label) for s in wanted], self.scheme)
        return len(set(wanted) & set(spans_of(example.fields["text"], places, true)))

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """entity_f1 (micro), precision, recall, macro_f1, boundary_f1 (whatever the type), per_type, entities (how many)."""
        names = sorted({*self.types(), *(span.label for _, prediction in pairs for span in prediction.spans)})
        table = np.zeros((len(names), 3), np.int64)
        border = np.zeros(3, np.int64)
        for example, prediction in pairs:
            true, given = (plain(found) for found in (example.fields["spans"], prediction.spans))
            table += entities.counts(true, given, names)
            border += entities.borders(true, given)
        total = table.sum(0)
        return {
            "entity_f1": float(entities.f1(total)), "precision": float(entities.precision(total)),
            "recall": float(entities.recall(total)), "macro_f1": float(entities.macro_f1(table)),
            "boundary_f1": float(entities.f1(border)), "entities": int(total[2]), "per_type": entities.report(table, names),
        }  # fmt: skip


def decide(content: str, names: Sequence[str], outputs: Any, chain: Potentials | None = None) -> Prediction:
    """The entities by the most probable sequence of tags that the scheme of `names` can write, or that the `chain` allows.
    `score` is the mean probability of its tags. Where a value is NaN (of a chain's scores, not finite) there is no entity and no
    score: that is no answer, and so a wrong one."""
    values = np.array([scores for _, _, scores in outputs], np.float64).reshape(len(outputs), len(names))
    if np.isnan(values).any() or (chain is not None and not np.isfinite(values).all()):
        return Prediction(content)
    if chain is None:
        with np.errstate(divide="ignore"):
            best = _grammar(tuple(names)).best(np.log(values))
    else:
        best, values = chain.best(values), chain.shares(values)
    places = [(int(start), int(end)) for start, end, _ in outputs]
    score = float(values[np.arange(len(best)), best].mean()) if len(best) else None
    return Prediction(content, score=score, spans=spans_of(content, places, [names[index] for index in best]))


def spans_of(content: str, places: Sequence[tuple[int, int]], found: Sequence[str]) -> tuple[Span, ...]:
    """The entities of tokens at `places` with the tags `found`, as characters without spaces at their ends."""
    made = []
    for chunk in tags.chunks([name if tags.parsed(name) else f"I-{name}" for name in found]):
        inside = trimmed(content, places[chunk.first][0], places[chunk.end - 1][1])
        if inside is not None:
            made.append(Span(*inside, chunk.label))
    return tuple(made)


def plain(found: Iterable[Span]) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label) for span in found]


@lru_cache(maxsize=16)
def _grammar(names: tuple[str, ...]) -> Grammar:
    return Grammar.of(names)


def _example(item: Tagged) -> Example:
    kept: dict[str, Any] = {"text": item.text, "spans": item.spans}
    if item.group:
        kept["group"] = item.group
    said = " ".join(f"{span.start}:{span.end}:{span.label}" for span in item.spans)
    return Example(content_id(f"{said}\t{item.text}"), kept, item.where)


def _close(label: str, names: Sequence[str]) -> Text | None:
    remedy = nearest(label, names)
    return remedy if "name" in remedy.values else None  # the list of all stands in the message already


def _contradictions(examples: list[Example]) -> list[tuple[str, str]]:
    first: dict[str, Example] = {}
    found = []
    for example in examples:
        other = first.setdefault(example.fields["text"], example)
        if other.fields["spans"] != example.fields["spans"]:
            found.append((other.where, example.where))
    return found
