"""Denoising (Lewis et al. 2020, arXiv:1910.13461): the encoder reads a damaged text, the decoder writes it whole.

In this order, each where its share is above 0:

    permute   the row's sentences in another order
    rotate    the row begins at another of its tokens (in that share of the rows)
    delete    tokens that are gone without a trace
    rate      spans of a length from Poisson(`span`), each behind one mask; a span of length 0 is a mask more

Documents that meet in a row see each other; their borders are never deleted or masked.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, PrivateAttr, model_validator

from yanmo.core.data import Row
from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Context, Loss, Objective
from yanmo.objectives.marks import Marks
from yanmo.objectives.packing import generators, read_and_written
from yanmo.objectives.surprise import surprise
from yanmo.text.spelling import Speller


class Denoise(Objective):
    """Write a damaged text whole by encoder and decoder, as BART does.

    `rate`: the share of the tokens in spans that are replaced by one mask each, `span` their mean length; `permute`: the
    share of the sentences that change places; `delete`: the share of the tokens that are left out; `rotate`: the share of
    the rows that begin elsewhere."""

    kinds: ClassVar[tuple[str, ...]] = ("encoder-decoder",)

    context: int | None = Field(default=None, gt=4)  # of the encoder and of the decoder; None: chosen by the plan
    rate: float = Field(default=0.3, ge=0, lt=1)
    span: float = Field(default=3.0, gt=0)
    permute: float = Field(default=1.0, ge=0, le=1)
    delete: float = Field(default=0.0, ge=0, lt=1)
    rotate: float = Field(default=0.0, ge=0, le=1)

    _marks: Marks = PrivateAttr()
    _speller: Speller = PrivateAttr()

    @model_validator(mode="after")
    def _damages(self) -> Denoise:
        if not (self.rate or self.permute or self.delete or self.rotate):
            raise ValueError(str(text("one of 'rate', 'permute', 'delete' and 'rotate' above 0")))
        return self

    def bind(self, context: Context) -> Denoise:
        bound = self.model_copy()
        bound._marks = Marks.of(context.tokenizer)
        if self.rate:
            bound._marks.needed_mask(self.type)
        bound._speller = Speller(context.tokenizer)
        return bound

    def stretch(self, context: int) -> int:
        return context - 1 - (self._marks.begin is not None)

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        begin = [] if self._marks.begin is None else [self._marks.begin]
        end, pad = [self._marks.end], self._marks.pad
        sources, targets = [], []
        for row, own in zip(rows, generators(len(rows), rng)):
            ids = np.asarray(row.tokens, np.int64)
            sources.append(np.concatenate([begin, self.damage(ids, own), end]).astype(np.int64))
            targets.append(np.concatenate([begin, ids, end]).astype(np.int64))
        return read_and_written(rows, sources, targets, self._marks.end, pad)  # it starts from the end, as BART's

    def damage(self, ids: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        """What the encoder reads of a row; at most as long."""
        if self.permute:
            ids = self.permuted(ids, dice)
        if self.rotate and dice.random() < self.rotate:
            ids = np.roll(ids, -int(dice.integers(len(ids))))
        if self.delete:
            ids = ids[(dice.random(len(ids)) >= self.delete) | self._marks.special[ids]]
        return self.infilled(ids, dice) if self.rate else ids

    def permuted(self, ids: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        pieces = np.split(ids, self._speller.sentences(ids))
        moving = np.flatnonzero(dice.random(len(pieces)) < self.permute)
        order = np.arange(len(pieces))
        order[moving] = dice.permutation(moving)
        return np.concatenate([pieces[index] for index in order])

    def infilled(self, ids: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        free = ~self._marks.special[ids]
        wanted = round(self.rate * int(free.sum()))
        hidden, begins = np.zeros(len(ids), bool), np.zeros(len(ids), bool)
        inserted, lengths = 0, list[int]()
        while sum(lengths) < wanted:
            length = int(dice.poisson(self.span))
            if length:
                lengths.append(min(length, wanted - sum(lengths)))
            else:
                inserted += 1
        for length in sorted(lengths, reverse=True):  # the longest first, while there is room
            starts = self._room(free & ~hidden, length)
            while not len(starts) and length > 1:
                length -= 1
                starts = self._room(free & ~hidden, length)
            if len(starts):
                start = int(starts[dice.integers(len(starts))])
                hidden[start : start + length] = True
                begins[start] = True
        mask = self._marks.needed_mask(self.type)
        damaged = np.where(begins, mask, ids)[~hidden | begins]
        inserted = min(inserted, len(ids) - len(damaged))  # a source is never longer than its row
        places = np.sort(dice.integers(len(damaged) + 1, size=inserted))
        return np.insert(damaged, places, mask) if inserted else damaged

    @staticmethod
    def _room(free: np.ndarray, length: int) -> np.ndarray:
        """Where a span of `length` fits."""
        sums = np.concatenate([[0], np.cumsum(free)])
        return np.flatnonzero(sums[length:] - sums[:-length] == length)

    def loss(self, model: Any, batch: Batch) -> Loss:
        return surprise(model, batch, smoothing=self.smoothing)
