"""Functions that travel to worker processes."""

from __future__ import annotations

import atexit
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yanmo.core.data import Document
from yanmo.core.errors import DataError


def words(docs: Iterator[Document]) -> Iterator[tuple[str, int, int]]:
    """(word, order of its document, length)."""
    for doc in docs:
        for word in doc.text.split():
            yield word, doc.order, len(word)


def letters(docs: Iterator[Document]) -> Iterator[tuple[int, bytes, float, str]]:
    for doc in docs:
        yield doc.order, doc.text.encode()[:3], len(doc.text) / 3, doc.text[:2]


def head(row: tuple) -> Any:
    return row[0]


def some_heads(row: tuple) -> str | None:
    return row[0] if len(row[0]) > 3 else None


def one(row: tuple) -> tuple[int, str, int]:
    return 1, row[0][:1], row[1]


def add(a: tuple, b: tuple) -> tuple:
    return a[0] + b[0], a[1], min(a[2], b[2])


def first_word(doc: Document) -> str | None:
    return (doc.text.split() or [None])[0]


def text_backwards(doc: Document) -> str:
    return doc.text[::-1]


def length_of(row: tuple) -> int:
    return row[2]


def length_and_head(row: tuple) -> tuple[int, str]:
    return row[2], row[0]


def order_of(row: tuple) -> int:
    return row[1]


def bytes_of(row: tuple) -> bytes:
    return row[1][:2]


def second(row: tuple) -> bytes:
    return row[1]


def every_third(docs: Iterator[Document]) -> Iterator[tuple[int, tuple[int, str]]]:
    return ((doc.order, (len(doc.text), doc.id)) for doc in docs if doc.order % 3 == 0)


def halves(row: tuple) -> tuple[float, str]:
    return row[2] / 2, row[3]


def sum_halves(a: tuple, b: tuple) -> tuple[float, str]:
    return a[0] + b[0], min(a[1], b[1])


def least(row: tuple) -> tuple[int, str]:
    return -row[1][0], row[0]


def joined(rows: Iterator[tuple[Document, Any]]) -> Iterator[tuple[int, str, int]]:
    for doc, found in rows:
        yield doc.order, doc.text, -1 if found is None else found[0]


def joined_rows(rows: Iterator[tuple[tuple, Any]]) -> Iterator[tuple[str, int, int]]:
    for row, found in rows:
        yield row[0], row[1], -1 if found is None else found[0]


def alone(docs: Iterator[Document]) -> Iterator[tuple[int, str, int]]:
    return ((doc.order, doc.text, -1) for doc in docs)


def counted(rows: Iterator[tuple]) -> Iterator[tuple[str, int]]:
    """Each word of all rows once, with how often it is there."""
    yield from Counter(row[0] for row in rows).items()


def plus(a: int, b: int) -> int:
    return a + b


def frequent(rows: Iterator[tuple]) -> Iterator[tuple]:
    return (row for row in rows if row[1][0] > 2)


def nothing(rows: Iterator[tuple]) -> Iterator[tuple]:
    return (row for row in rows if False)


def fail(docs: Iterator[Document]) -> Iterator[Document]:
    for doc in docs:
        if doc.order > 5:
            raise DataError("somewhere", "this", "that")
        yield doc


def crash(docs: Iterator[Document]) -> Iterator[Document]:
    for doc in docs:
        if doc.order > 5:
            raise ZeroDivisionError("a bug")
        yield doc


def die(docs: Iterator[Document]) -> Iterator[Document]:
    for doc in docs:
        if doc.order > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield doc


def talk(docs: Iterator[Document]) -> Iterator[Document]:
    for doc in docs:
        print("a step that prints", flush=True)
        yield doc


@dataclass(frozen=True)
class Square:
    """A task."""

    number: int
    fails: bool = False

    def run(self) -> int:
        return self.number**2 // (not self.fails)


@dataclass(frozen=True)
class Mess:
    """A task that leaves something to be tidied when its process ends, and memory that takes long to take apart."""

    path: str

    def run(self) -> int:
        atexit.register(Path(self.path).write_text, "ended")
        kept.extend({str(n): [n]} for n in range(300_000))
        time.sleep(0.2)  # so that the other worker takes the other task
        return 1


kept: list[Any] = []
