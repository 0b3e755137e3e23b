"""Rows that are pairs: a prompt with the answer that was chosen, and with the one that was rejected.

    row       <border> prompt chosen <end> <border> prompt rejected <end>       `label`: a `Pair`, where each begins
    batch     the chosen texts in `inputs`, the rejected ones in `rejected`, both padded to one length

A third text may stand behind them: the same prompt with an answer that was given to another (KTO measures by those).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from pydantic import PrivateAttr
from torch import Tensor

from yanmo.core.data import Row
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch, Context, Objective


@dataclass(frozen=True, slots=True)
class Pair:
    """`lengths`: tokens of each text of the row; `begins`: where in each the answer begins; `reference`: ln p of each answer
    under the reference, where that is known."""

    lengths: tuple[int, ...]
    begins: tuple[int, ...]
    reference: tuple[float, ...] = ()


@dataclass
class Preferred(Batch):
    """Whole texts: `inputs` (B, T) the chosen ones. `begins` (B, K): where the answers begin, of the K texts of each pair;
    `reference` (B, K): ln p of the answers under the reference."""

    rejected: Inputs | None = None
    other: Inputs | None = None
    begins: Tensor | None = None
    reference: Tensor | None = None

    def texts(self) -> list[Inputs]:
        return [self.inputs, *(found for found in (self.rejected, self.other) if found is not None)]

    def stacked(self, count: int) -> tuple[Inputs, Tensor]:
        """The first `count` texts of all pairs as one batch (count · B, T), text by text, and where their answers begin."""
        assert self.begins is not None
        texts = self.texts()[:count]
        masks = [found.mask for found in texts]
        mask = None if masks[0] is None else torch.cat([found for found in masks if found is not None])
        return Inputs(torch.cat([found.tokens for found in texts]), mask=mask), self.begins[:, :count].T.reshape(-1)


def pair(texts: Sequence[Row]) -> Row:
    """The rows of one prompt with each answer as one row."""
    begins = tuple(row.trained.index(True) for row in texts if row.trained is not None)
    assert len(begins) == len(texts), "each text says which of its tokens are the answer's"
    return Row([token for row in texts for token in row.tokens], [on for row in texts for on in row.trained or ()],
               Pair(tuple(len(row.tokens) for row in texts), begins), texts[0].example)  # fmt: skip


def mismatched(rows: Sequence[tuple[Row, Row]]) -> Iterator[list[Row]]:
    """(chosen, rejected, the same prompt with the chosen answer of the next pair) for each of the rows."""
    for index, (chosen, rejected) in enumerate(rows):
        following = rows[(index + 1) % len(rows)][0]
        assert chosen.trained is not None
        assert following.trained is not None
        prompt = chosen.tokens[: chosen.trained.index(True)]
        answer = following.tokens[following.trained.index(True) :]
        yield [chosen, rejected, Row([*prompt, *answer], [False] * len(prompt) + [True] * len(answer), example=chosen.example)]


class Preferring(Objective):
    """An objective whose rows are pairs."""

    _pad: int = PrivateAttr(default=0)

    def bind(self, context: Context) -> Self:
        bound = self.model_copy()
        bound._pad = context.tokenizer.pad_id
        return bound

    @property
    def texts(self) -> int:
        """How many texts a row has."""
        return 2

    def rows(self, pairs: Sequence[tuple[Row, Row]]) -> list[Row]:
        """What the encoded texts of pairs become."""
        return [pair(texts) for texts in (mismatched(pairs) if self.texts == 3 else pairs)]

    def collate(self, rows: list[Row], rng: torch.Generator) -> Preferred:
        """Texts padded on the right to the longest; `mask` says what is padding, never the token ids."""
        lengths = np.array([row.label.lengths for row in rows])  # (B, K)
        longest = int(lengths.max())
        tokens = np.full((lengths.shape[1], len(rows), longest), self._pad, dtype=np.int64)
        for index, row in enumerate(rows):
            start = 0
            for number, length in enumerate(row.label.lengths):
                tokens[number, index, :length] = row.tokens[start : start + length]
                start += length
        masks = np.arange(longest) < lengths.T[:, :, None]
        even = bool(masks.all())
        made = [Inputs(torch.from_numpy(found), mask=None if even else torch.from_numpy(mask))
                for found, mask in zip(tokens, masks)]  # fmt: skip
        known = all(row.label.reference for row in rows)
        return Preferred(
            made[0], items=[row.example for row in rows], rejected=made[1], other=made[2] if len(made) > 2 else None,
            begins=torch.tensor([row.label.begins for row in rows]),
            reference=torch.tensor([row.label.reference for row in rows]) if known else None,
        )  # fmt: skip


def known(row: Row, reference: Sequence[float]) -> Row:
    """The row with what the reference gives its answers."""
    return replace(row, label=replace(row.label, reference=tuple(reference)))


def share(right: Tensor) -> tuple[Tensor, Tensor]:
    """A metric: the share of a batch's rows that are."""
    return right.float().sum(), torch.tensor(float(len(right)), device=right.device)


def mean(values: Tensor) -> tuple[Any, Any]:
    """A metric: the mean over a batch's rows."""
    return share(values.detach())
