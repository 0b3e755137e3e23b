"""Permuted language modelling (Yang et al. 2019, arXiv:1906.08237): the tokens of a row are predicted in a random order of
factorisation, each from those before it in that order, on whichever side they stand.

Every position has a rank (`Inputs.order`). The model runs two streams: the content at a position sees what has its own
rank or a lower one, itself included; the query that predicts it knows where it is but sees lower ranks only. What is
early in the order has little to go by, so that only the last part is predicted: spans of 1 to `span` tokens, one in each
stretch `predict` times as long. Everything else has rank 0: it is given, and sees itself whole, as in XLNet's own code.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, PrivateAttr

from yanmo.core.data import Row
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch, Context, Loss, Objective
from yanmo.objectives.marks import Marks
from yanmo.objectives.packing import documents, generators, padded, real
from yanmo.objectives.surprise import selected


class Permuted(Objective):
    """Predict some tokens of a row in a random order, from both sides, as XLNet does.

    `predict`: one token in so many is predicted; `span`: the longest run of them."""

    kinds: ClassVar[tuple[str, ...]] = ("permuted",)

    context: int | None = Field(default=None, gt=1)  # T; None: chosen by the plan
    predict: float = Field(default=6.0, gt=1)
    span: int = Field(default=5, ge=1)
    isolate: bool = True

    _marks: Marks = PrivateAttr()

    def bind(self, context: Context) -> Permuted:
        bound = self.model_copy()
        bound._marks = Marks.of(context.tokenizer)
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """`targets` are the tokens themselves, where `weights` is 1."""
        texts = [np.asarray(row.tokens, np.int64) for row in rows]
        ranks = [self.ranks(ids, own) for ids, own in zip(texts, generators(len(rows), rng))]
        last = max(int(rank.max()) for rank in ranks) + 1
        tokens = padded(texts, self._marks.pad)
        return Batch(
            Inputs(
                torch.from_numpy(tokens),
                documents=documents(tokens, self._marks.border) if self.isolate else None,
                mask=real(texts),
                order=torch.from_numpy(padded(ranks, last)),
            ),
            targets=torch.from_numpy(tokens.copy()),
            weights=torch.from_numpy(padded([rank > 0 for rank in ranks], 0, np.float32)),
            items=[row.example for row in rows],
        )

    def ranks(self, ids: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        """(T,): 0 for what is given, then 1, 2, … for what is predicted, in a random order. The first token of a row or of a
        document is given, so that there is always something to predict from."""
        chosen = np.zeros(len(ids), bool)
        start = 0
        while start < len(ids):
            length = int(dice.integers(1, self.span + 1))
            whole = max(round(length * self.predict), length + 1)
            begin = start + int(dice.integers(whole - length + 1))
            chosen[begin : begin + length] = True
            start += whole
        chosen &= ~self._marks.special[ids]
        chosen[0] = False
        if not chosen.any() and len(ids) > 1 and (free := np.flatnonzero(~self._marks.special[ids[1:]])).size:
            chosen[1 + int(free[dice.integers(len(free))])] = True  # a row too short for a stretch
        found = np.zeros(len(ids), np.int64)
        found[chosen] = 1 + dice.permutation(int(chosen.sum()))
        return found

    def loss(self, model: Any, batch: Batch) -> Loss:
        return selected(model, batch, self.smoothing)[0]
