"""Cuts passages that stand in more than one place out of all but the first (Lee et al. 2022, "Deduplicating training data
makes language models better").

A passage is at least `min_length` equal tokens that follow each other: words in English, characters in Chinese, with
punctuation, case and the blanks between them (`winnowing.py`). Every run of `min_length` tokens that has an equal one in
an earlier place is cut: earlier is the document with the smaller content id, within a document the one before. So each
passage stays where it stands first, a longer repetition is cut as a whole, nothing that is repeated for less than
`min_length` tokens is touched, and cuts fall between words. A suffix array would find the same in memory that holds
everything; here it is found whatever the size:

    marks     a hash for about every thirteenth token, by winnowing: equal passages share one      (hash, order, place)
    passages  only where a mark occurs twice: 128-bit hashes of the runs around it        (hash, rank of the id, order, place)
    verdicts  the runs that have an earlier equal one, as spans                                     (order, spans)

Hashes and numbers travel, texts do not. Equal 128-bit hashes are taken for equal runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
from pydantic import Field

from yanmo.core.data import Document
from yanmo.corpus.copies.copies import Place, Verdict, cut_document, key_of, rank_of, second_of, unpacked, verdicts
from yanmo.corpus.dataset import Dataset
from yanmo.corpus.step import Step
from yanmo.corpus.words.winnowing import marks, passages, tokens


class SubstringDedup(Step):
    """Cuts passages that stand in several places, all but the first.

    `min_length`: in words, or characters of Chinese and other scripts without blanks; a document that is left with less
    than `min_left` of them is dropped."""

    type: str = "substring_dedup"
    min_length: int = Field(default=50, ge=8, le=10_000)
    min_left: float = Field(default=0.2, ge=0, le=1)

    def apply(self, docs: Dataset) -> Dataset:
        marked = docs.map(self.marks).persist()
        twice = marked.group(key=key_of, value=one, reduce=add).map(repeated)
        meeting = marked.join(twice, key=key_of).map(met).group(key=key_of, value=second_of, reduce=add)
        places = docs.join(meeting, key=order_of).map(self.places)
        return docs.join(verdicts(places, self.min_left), key=order_of).map(self.cut)

    def marks(self, docs: Iterator[Document]) -> Iterator[tuple[int, int, int]]:
        """(hash, order, place) of each mark."""
        for doc in docs:
            if doc.rejection is None:
                chosen, hashes = marks(tokens(doc.text), self.min_length)
                chosen = np.unique(chosen)
                for hashed, place in zip(hashes[chosen].view(np.int64).tolist(), chosen.tolist()):
                    yield hashed, doc.order, place

    def places(self, rows: Iterator[tuple[Document, bytes | None]]) -> Iterator[Place]:
        """The runs of `min_length` tokens, in tokens, whose mark occurs twice."""
        for doc, found in rows:
            if found is None:
                continue
            split = tokens(doc.text)
            chosen, _ = marks(split, self.min_length)
            runs = np.flatnonzero(np.isin(chosen, np.frombuffer(found, "<i8")))
            keys = passages(split, self.min_length)[runs].astype("<u8").tobytes()
            rank, total = rank_of(doc), split.starts.size
            for number, start in enumerate(runs.tolist()):
                key = keys[16 * number : 16 * number + 16]
                yield key, rank, doc.order, start, self.min_length, total

    def cut(self, rows: Iterator[tuple[Document, Verdict | None]]) -> Iterator[Document]:
        for doc, verdict in rows:
            if verdict is not None:
                split, spans = tokens(doc.text), unpacked(verdict[0])
                places = zip(split.starts[spans[:, 0]].tolist(), split.ends[spans[:, 1] - 1].tolist())
                cut_document(self.type, doc, verdict, places)
            yield doc


def order_of(row: Any) -> int:
    return row.order


def one(row: tuple) -> int:
    return 1


def add(a: Any, b: Any) -> Any:
    return a + b


def repeated(rows: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    return (row for row in rows if row[1] > 1)


def met(rows: Iterator[tuple[tuple[int, int, int], int | None]]) -> Iterator[tuple[int, bytes]]:
    """(order, places of marks that occur twice), the marks of a document following each other."""
    shared = ((row[1], row[2]) for row, count in rows if count is not None)
    for order, found in groupby(shared, key=key_of):
        yield order, np.array([place for _, place in found], "<i8").tobytes()
