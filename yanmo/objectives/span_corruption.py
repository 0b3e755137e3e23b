"""Span corruption (Raffel et al. 2020, arXiv:1910.10683, section 3.1.4): the encoder reads a text with gaps, the decoder
says what stood in them.

    row       Thank you for inviting me to your party last week .
    source    Thank you <0> me to your party <1> week . </s>
    target    <0> for inviting <1> last </s>

`density` of the tokens lie in the gaps, whose mean length is `span`; each gap is marked by a sentinel of its own, in their
order. A row is as long a stretch of the stream as leaves a source of the context's length. Documents that meet in a row
see each other, as in T5; their borders are never in a gap, so that one gap beside a border may be two.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, PrivateAttr

from yanmo.core.data import Row
from yanmo.objectives.base import Batch, Context, Loss, Objective
from yanmo.objectives.marks import Marks
from yanmo.objectives.packing import generators, read_and_written
from yanmo.objectives.surprise import surprise


class SpanCorruption(Objective):
    """Fill the gaps of a text by encoder and decoder, as T5 does.

    `density`: the share of the tokens in gaps; `span`: a gap's mean length."""

    kinds: ClassVar[tuple[str, ...]] = ("encoder-decoder",)

    context: int | None = Field(default=None, gt=4)  # of the encoder and of the decoder; None: chosen by the plan
    density: float = Field(default=0.15, gt=0, lt=1)
    span: float = Field(default=3.0, ge=1)

    _marks: Marks = PrivateAttr()

    def bind(self, context: Context) -> SpanCorruption:
        bound = self.model_copy()
        bound._marks = Marks.of(context.tokenizer)
        bound._marks.needed_sentinels(self.type, 1)
        return bound

    def gaps(self, length: int) -> tuple[int, int]:
        """(tokens in gaps, gaps) of a row of `length` tokens."""
        hidden = min(max(round(length * self.density), 1), length - 1)
        return hidden, min(max(round(hidden / self.span), 1), length - hidden)

    def stretch(self, context: int) -> int:
        length = 2
        while True:  # the next longer row
            hidden, gaps = self.gaps(length + 1)
            if max(length + 1 - hidden + gaps, hidden + gaps) + 1 > context:
                break
            length += 1
        self._marks.needed_sentinels(self.type, self.gaps(length)[1])
        return length

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        sources, targets = [], []
        for row, own in zip(rows, generators(len(rows), rng)):
            source, target = self.divide(np.asarray(row.tokens, np.int64), own)
            sources.append(source)
            targets.append(target)
        pad = self._marks.pad
        return read_and_written(rows, sources, targets, pad, pad)  # the decoder starts from padding, as T5's

    def divide(self, ids: np.ndarray, dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(source, target) of a row, each ended by the separator; neither longer than without borders in the row. Where the
        dice find no such gaps in a few throws (a row of very short documents), the row's last token is left out."""
        hidden, gaps = self.gaps(len(ids))
        longest, throws = len(ids) - hidden + gaps, 0
        while True:
            gone = self.hide(ids, dice)
            begins = gone.copy()
            begins[1:] &= ~gone[:-1]
            if begins.sum() <= gaps and len(ids) - gone.sum() + begins.sum() <= longest:
                break
            throws += 1
            ids = ids if throws % 8 else ids[:-1]
        number = np.cumsum(begins) - 1
        sentinels = np.array(self._marks.sentinels)
        end = [self._marks.end]
        source = np.where(begins, sentinels[np.maximum(number, 0)], ids)[~gone | begins]
        pieces = [np.concatenate([[sentinels[gap]], ids[gone & (number == gap)]]) for gap in range(int(begins.sum()))]
        return np.concatenate([source, end]), np.concatenate([*pieces, end])

    def hide(self, ids: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        """(T,) bool: the tokens in gaps. As in T5 a row begins outside of a gap and ends in one. A border in a gap divides it,
        so that a row with borders is given as many gaps less."""
        free = np.flatnonzero(~self._marks.special[ids])
        found = np.zeros(len(ids), bool)
        if len(free) < 2:
            return found
        hidden, gaps = self.gaps(len(ids))
        borders = int((np.diff(free) > 1).sum())
        hidden = min(hidden, len(free) - 1)
        wanted = max(1, min(gaps - borders, hidden, len(free) - hidden))
        lengths = np.stack([parts(len(free) - hidden, wanted, dice), parts(hidden, wanted, dice)], 1).reshape(-1)
        found[free] = np.repeat(np.arange(2 * wanted) % 2 == 1, lengths)
        return found

    def loss(self, model: Any, batch: Batch) -> Loss:
        return surprise(model, batch, smoothing=self.smoothing)


def parts(total: int, count: int, dice: np.random.Generator) -> np.ndarray:
    """`total` as `count` whole numbers of at least 1, every way equally probable."""
    cuts = np.sort(dice.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))
