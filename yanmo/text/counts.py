"""How often each piece of a text occurs: what every tokenizer is learned from, counted in bounded memory.

Texts stream by and are cut as they will be cut for encoding. Kinds of pieces, not the text, take memory: a trainer holds
each kind with its symbols and the places of its pairs. So the kinds are bounded in their UTF-8 bytes. Where a text has
more, the rarest give way (lossy counting, Manku and Motwani 2002: at each overflow all kinds that came at most n times, for
the least n that frees half): clauses of Chinese, nearly all of which come once, are first counted in parts of a few
characters, which come again; what is rare then is dropped, and what was dropped is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from yanmo.core.messages import Text, text

SLICE = 1 << 16  # characters that are cut into pieces at one time: where a line ends, else at twice as many
PART = 4  # characters of Chinese that a rare clause is counted in
BATCH = 10_000  # pieces that are handed to a trainer at one time


@dataclass
class Counts:
    """`pieces`: piece → how often. `dropped`: how many characters (counted as often as they came) are not among them, and
    `parted`: how many are in parts of their pieces, of `total`; `held`: the UTF-8 bytes of the kinds that are."""

    pieces: Counter[str] = field(default_factory=Counter)
    total: int = 0
    dropped: int = 0
    parted: int = 0
    held: int = 0
    read: int = 0  # UTF-8 bytes of the texts

    def notes(self) -> list[Text]:
        """What a person should know of what was left out."""
        made = []
        if self.parted:
            made.append(text("memory: {share}% of the text's characters were counted in parts of {size}",
                             share=round(100 * self.parted / self.total, 1), size=PART))  # fmt: skip
        if self.dropped:
            made.append(text("memory: {share}% of the text's characters were in rare pieces that were not counted",
                             share=round(100 * self.dropped / self.total, 1)))  # fmt: skip
        return made

    def batches(self) -> Iterator[list[str]]:
        """Each piece as often as it came, in lists that a trainer takes."""
        batch: list[str] = []
        for piece, count in self.pieces.items():
            while count:
                taken = min(count, BATCH - len(batch))
                batch += [piece] * taken
                count -= taken
                if len(batch) >= BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch


def count(texts: Iterable[str], cut: Callable[[str], list[str]], most: int) -> Counts:
    """The pieces of `texts`, their kinds of at most `most` UTF-8 bytes in all."""
    made = Counts()
    known = made.pieces
    for each in texts:
        for part in _slices(each):
            pieces = cut(part)
            before = len(known)
            known.update(pieces)
            made.total += len(part)
            made.read += len(part.encode("utf-8", "replace"))
            if len(known) > before:  # new keys are the last ones
                made.held += sum(len(piece.encode("utf-8", "replace")) for piece in _last(known, len(known) - before))
                if made.held > most:
                    _prune(made, most // 2)
    return made


def _last(known: Counter[str], number: int) -> Iterator[str]:
    keys = reversed(known)
    return (next(keys) for _ in range(number))


def _prune(counts: Counts, target: int) -> None:
    """Makes the rarest kinds give way until those that stay hold at most `target` bytes; kinds of the same count go together."""
    threshold = _threshold(counts.pieces, counts.held, target)
    kept = Counter({piece: times for piece, times in counts.pieces.items() if times > threshold})
    rare = [(piece, times) for piece, times in counts.pieces.items() if times <= threshold]
    counts.pieces.clear()
    for piece, times in rare:
        if len(piece) > PART and _is_han(piece[0]):
            counts.parted += len(piece) * times
            for start in range(0, len(piece), PART):
                kept[piece[start : start + PART]] += times
        elif len(piece) <= PART:
            kept[piece] += times
        else:
            counts.dropped += len(piece) * times
    del rare
    held = sum(len(piece.encode("utf-8", "replace")) for piece in kept)
    if held > target:
        threshold = _threshold(kept, held, target)
        counts.dropped += sum(len(piece) * times for piece, times in kept.items() if times <= threshold)
        kept = Counter({piece: times for piece, times in kept.items() if times > threshold})
        held = sum(len(piece.encode("utf-8", "replace")) for piece in kept)
    counts.pieces.update(kept)
    counts.held = held


def _threshold(pieces: Counter[str], held: int, target: int) -> int:
    size: Counter[int] = Counter()
    for piece, times in pieces.items():
        size[times] += len(piece.encode("utf-8", "replace"))
    threshold = 0
    for times in sorted(size):
        if held <= target:
            break
        held -= size[times]
        threshold = times
    return threshold


def _is_han(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff" or "\U00020000" <= character <= "\U0003ffff"


def _slices(whole: str) -> Iterator[str]:
    start = 0
    while len(whole) - start > 2 * SLICE:
        end = whole.rfind("\n", start + SLICE, start + 2 * SLICE) + 1 or start + 2 * SLICE
        while end < len(whole) and end < start + 2 * SLICE and whole[end].isspace():  # a run of spaces stays whole
            end += 1
        yield whole[start:end]
        start = end
    yield whole[start:]
