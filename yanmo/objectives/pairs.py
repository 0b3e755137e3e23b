"""Pairs of segments, and whether they belong together: what BERT and ALBERT learn beside the hidden tokens.

    [CLS] A … [SEP] B … [SEP]        types 0 0 … 0 1 … 1

A row's longest stretch of one document is divided where a sentence begins. Next-sentence prediction (Devlin et al. 2019):
in half of the rows B is that of another row, and the label says so. Sentence-order prediction (Lan et al. 2020,
arXiv:1909.11942): in half of the rows A and B have changed places, which no difference of topic betrays. Nor must their ends:
a row begins and ends anywhere, and if A began with half a sentence and B ended with one, a glance at a full stop would tell
the order. So both are whole sentences, or, of a stretch with too few, both cut anywhere.

The scores are the model's own: of the first position, through its pooler (`head: {pooler: true, pairs: true}`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Loss
from yanmo.objectives.marks import Marks
from yanmo.text.spelling import Break, Speller

NONE = -100  # the label of a row without a pair


@dataclass(frozen=True)
class Pair:
    tokens: np.ndarray  # (T,)
    types: np.ndarray  # (T,)
    label: int


class Pairs:
    """`order`: sentence order; else next sentence."""

    def __init__(self, marks: Marks, speller: Speller, order: bool):
        self.marks, self.speller, self.order = marks, speller, order

    def of(self, rows: list[np.ndarray], dice: list[np.random.Generator]) -> list[Pair]:
        """A pair for each row of the stream, 3 tokens longer than the row at most; each row's own `dice` decide for it."""
        if not self.order and len(rows) < 2:
            raise RequestError("objective.next_sentence", text("at least two rows at a time for 'nsp'"), "1",
                               text("raise train.micro_tokens and train.batch_tokens, or use 'sop'"))  # fmt: skip
        divide = self.divide_evenly if self.order else self.divide
        segments = [divide(self.longest(row), own) for row, own in zip(rows, dice)]
        made = []
        for index, (own, row) in enumerate(zip(dice, rows)):
            first, second = segments[index]
            wrong = bool(own.random() < 0.5)
            if not len(second):
                made.append(self._joined(first, second, NONE))
            elif self.order:
                made.append(self._joined(second, first, 1) if wrong else self._joined(first, second, 0))
            else:
                other = segments[(index + 1 + int(own.integers(len(rows) - 1))) % len(rows)][1] if wrong else second
                room = max(len(row) - len(first), 1)
                label = int(wrong) if len(other) else NONE
                made.append(self._joined(first, other[:room] if len(other) else second, label))
        return made

    def longest(self, row: np.ndarray) -> np.ndarray:
        """The row's longest stretch of one document, without its border."""
        pieces = np.split(row, np.flatnonzero(row == self.marks.border))
        return max((piece[piece != self.marks.border] for piece in pieces), key=len)

    def divide(self, piece: np.ndarray, dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A and B of a stretch, divided at one of its sentences, or where it has none, in the middle; B is empty where there is
        nothing to divide."""
        if len(piece) < 2:
            return piece, piece[:0]
        places = self.speller.sentences(piece) or [len(piece) // 2]
        cut = places[int(dice.integers(len(places)))]
        return piece[:cut], piece[cut:]

    def divide_evenly(self, piece: np.ndarray, dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A and B of a stretch whose ends are all alike: three breaks between sentences, with the same blanks about them, from
        the first to the last and one between; or, with fewer, three places anywhere, none of them the stretch's own ends."""
        alike: dict[tuple[str, str], list[Break]] = {}
        for each in self.speller.breaks(piece):
            alike.setdefault(each.mark, []).append(each)
        found = max(alike.values(), key=len, default=[])
        if len(found) > 2:
            begin, middle, end = found[0], found[int(dice.integers(1, len(found) - 1))], found[-1]
            return piece[begin.begin : middle.end], piece[middle.begin : end.end]
        if len(piece) < 4:
            return piece, piece[:0]
        spare = max((len(piece) - 2) // 8, 1)
        first, last = 1 + int(dice.integers(spare)), len(piece) - 1 - int(dice.integers(spare))
        if last - first < 2:
            return piece, piece[:0]
        cut = int(dice.integers(first + 1, last))
        return piece[first:cut], piece[cut:last]

    def _joined(self, first: np.ndarray, second: np.ndarray, label: int) -> Pair:
        begin = self.marks.border if self.marks.begin is None else self.marks.begin
        end = self.marks.end
        tokens = np.concatenate([[begin], first, [end], second, [end] if len(second) else []]).astype(np.int64)
        types = np.zeros(len(tokens), np.int64)
        types[len(first) + 2 :] = 1
        return Pair(tokens, types, label)


def pair_loss(loss: Loss, scores: Tensor, batch: Batch, weight: float) -> None:
    """Adds the pairs' cross-entropy to `loss`, and their accuracy to its metrics.

    A pair counts as much as its row has predicted tokens, so that a step's loss is the mean over tokens plus `weight` times
    the mean over pairs, however the step is divided into micro-batches."""
    assert batch.labels is not None
    assert batch.weights is not None
    counted = batch.labels != NONE
    each = F.cross_entropy(scores, batch.labels, reduction="none", ignore_index=NONE)
    weighed = weight * each * batch.weights.sum(1)
    loss.total = loss.total + weighed.sum()
    loss.rows = loss.rows + weight * each.detach()
    right = (scores.detach().argmax(-1) == batch.labels) & counted
    loss.metrics["pair_accuracy"] = (right.sum(), counted.sum())
    loss.metrics["pair_loss"] = ((each.detach() * counted).sum(), counted.sum())
