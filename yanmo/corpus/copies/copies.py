"""Pieces of text that stand in several places: which of them are cut, and the cutting.

A place is a row (key, rank, order, start, length, total): a piece with the hash `key` stands in the document `order` at
[start, start + length), in whatever unit the step counts, and the document has `total` of them. Of equal pieces the one
in the document with the smallest (content id, order) stays, within a document the first; a copy that overlaps the one
that stays is no other place. `rank` is the head of the id as a number.

A document that would keep less than a given share is dropped, and what it held counts no more: the choice is made once
again without it, so that no text is lost that was cut only in favour of one that is gone.

Texts stay where they are. Hashes, ids and numbers travel, and a document gets its verdict as one small value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yanmo.core.data import Document, Rejection
from yanmo.corpus.dataset import Dataset
from yanmo.corpus.words.shingles import WORD, classes

Place = tuple[bytes, int, int, int, int, int]  # key, rank, order, start, length, total
First = tuple[int, int, int, int]  # rank, order, start, how many places there are
Cut = tuple[int, int, int, int, float]  # order, start, length, total, share left where the document is dropped, else -1
Verdict = tuple[bytes, int, float]  # spans to cut, total, share left where the document is dropped, else -1
Spans = NDArray[np.int64]  # (n, 2): start, end; sorted, apart from each other


def verdicts(places: Dataset, min_left: float) -> Dataset:
    """(order, verdict) of each document that loses something; `places` is a dataset of places."""
    places = places.persist()
    firsts = places.group(key=key_of, value=place_of, reduce=earlier).map(repeated)
    found = places.join(firsts, key=key_of).map(several).persist()
    chosen = combined(found.map(cuts)).persist()
    lost = dict(chosen.map(partial(dropped, min_left)).collect())
    if not lost:
        return chosen
    again = found.group(key=partial(key_if_open, lost), value=place_of, reduce=earlier)
    return combined(found.join(again, key=partial(key_if_open, lost)).map(partial(cuts_again, lost)))


def combined(rows: Dataset) -> Dataset:
    """(order, verdict), one for each document, out of rows (order, start, length, total, share)."""
    return rows.map(gathered).group(key=key_of, value=second_of, reduce=union)


# ------------------------------------------------------------------------------------------------ rows


def rank_of(doc: Document) -> int:
    """The first 64 bits of the content id as a signed number, in the same order."""
    return int(doc.id[:16], 16) - (1 << 63)


def key_of(row: tuple) -> Any:
    return row[0]


def second_of(row: tuple) -> Any:
    return row[1]


def key_if_open(lost: Mapping[int, float], row: tuple) -> bytes | None:
    """The key of a place whose first one is in a document that is dropped, unless its own document is."""
    return row[0] if row[6] in lost and row[2] not in lost else None


def place_of(row: tuple) -> First:
    return row[1], row[2], row[3], 1


def earlier(a: First, b: First) -> First:
    first = a if a[:3] <= b[:3] else b
    return first[0], first[1], first[2], a[3] + b[3]


def repeated(rows: Iterator[tuple[bytes, First]]) -> Iterator[tuple[bytes, First]]:
    return (row for row in rows if row[1][3] > 1)


def several(rows: Iterator[tuple[Place, First | None]]) -> Iterator[tuple]:
    """Places of pieces that have others: the place, the order and the start of the first one."""
    return ((*place, first[1], first[2]) for place, first in rows if first is not None)


def is_copy(order: int, start: int, length: int, first_order: int, first_start: int) -> bool:
    return order != first_order or start >= first_start + length


def cuts(rows: Iterator[tuple]) -> Iterator[Cut]:
    for _, _, order, start, length, total, first_order, first_start in rows:
        if is_copy(order, start, length, first_order, first_start):
            yield order, start, length, total, -1.0


def dropped(min_left: float, rows: Iterator[tuple[int, Verdict]]) -> Iterator[tuple[int, float]]:
    """(order, share left) of the documents that keep too little."""
    for order, (spans, total, _) in rows:
        removed = int(np.diff(unpacked(spans)).sum())
        if removed >= total or removed > (1 - min_left) * total:
            yield order, (total - removed) / total


def cuts_again(lost: Mapping[int, float], rows: Iterator[tuple[tuple, First | None]]) -> Iterator[Cut]:
    for (_, _, order, start, length, total, first_order, first_start), again in rows:
        if order in lost:
            yield order, 0, 0, total, lost[order]
            continue
        if again is not None:
            first_order, first_start = again[1], again[2]
        if is_copy(order, start, length, first_order, first_start):
            yield order, start, length, total, -1.0


def gathered(rows: Iterator[Cut]) -> Iterator[tuple[int, Verdict]]:
    """The rows of a document, which follow each other, as one."""
    for order, found in groupby(rows, key=key_of):
        held = list(found)
        spans = np.array([(start, start + length) for _, start, length, _, _ in held if length], np.int64).reshape(-1, 2)
        yield order, (packed(spans), held[0][3], held[0][4])


def union(a: Verdict, b: Verdict) -> Verdict:
    return packed(np.concatenate([unpacked(a[0]), unpacked(b[0])])), a[1], a[2]


def packed(spans: Spans) -> bytes:
    return merged(spans).astype("<i8").tobytes()


def unpacked(spans: bytes) -> Spans:
    return np.frombuffer(spans, "<i8").reshape(-1, 2)


def merged(spans: Spans) -> Spans:
    """The same positions, as few spans as possible, sorted."""
    if len(spans) < 2:
        return spans
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reach = np.maximum.accumulate(spans[:, 1])
    apart = spans[1:, 0] > reach[:-1]
    return np.stack([spans[np.append(True, apart), 0], reach[np.append(apart, True)]], axis=1)


# ------------------------------------------------------------------------------------------------ cutting


def cut(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """`text` without `spans` (of code points, sorted, apart), and with blanks where they were as an editor would leave them:
    of the blank space on the two sides the one with more line ends stays, and the indentation of the line that follows."""
    kept, at = [], 0
    for start, end in spans:
        kept.append(text[at:start])
        at = end
    kept.append(text[at:])
    body = kept[0].rstrip()
    pieces, blank = [body], kept[0][len(body) :]
    written = bool(body)
    for number, piece in enumerate(kept[1:], 2):
        body = piece.strip()
        before = piece[: len(piece) - len(piece.lstrip())]
        if not body:
            blank = before if number == len(kept) else seam(blank, before)
            continue
        blank = seam(blank, before)
        if not written:
            blank = blank.rpartition("\n")[2]
        elif not blank and spaced(pieces[-1][-1]) and spaced(body[0]):
            blank = " "
        pieces += [blank, body]
        written, blank = True, piece[len(before) + len(body) :]
    return "".join([*pieces, blank]) if written else ""


def seam(left: str, right: str) -> str:
    if "\n" not in right:
        return left or right
    ends = max(left, right, key=lambda blank: blank.count("\n"))
    return ends[: ends.rindex("\n") + 1] + right.rpartition("\n")[2]


def spaced(character: str) -> bool:
    """Whether a blank divides it from the next word."""
    return bool(classes()[ord(character)] == WORD)


def cut_document(step: str, doc: Document, verdict: Verdict | None, spans: Iterable[tuple[int, int]]) -> None:
    """Carries out a verdict, whose spans are `spans` in code points; how many were cut stands in `meta`: {"cut": {step: n}}."""
    if verdict is None:
        return
    if verdict[2] >= 0:
        doc.rejection = Rejection(step, "too_little_left", round(verdict[2], 4))
        return
    shorter = cut(doc.text, spans)
    if not shorter or shorter.isspace():
        doc.rejection = Rejection(step, "too_little_left", 0.0)
        return
    before = doc.meta.get("cut")
    removed = {**(before if isinstance(before, dict) else {}), step: len(doc.text) - len(shorter)}
    doc.text, doc.meta = shorter, {**doc.meta, "cut": removed}
