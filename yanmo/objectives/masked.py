"""Masked language modelling (Devlin et al. 2019, arXiv:1810.04805): some tokens are hidden, and predicted from both sides.

In every row `rate` of its text's tokens are chosen, anew each time it is seen (Liu et al. 2019, arXiv:1907.11692). Of the
chosen ones the share `masked` becomes the mask, `random` another token, and the rest stays, so that a token that is not
the mask can be one to be predicted too. With `whole_word` words are chosen, not tokens, and the pieces of a word share
its fate: else one piece tells the others (`spelling.py`; in Chinese, words as jieba finds them).

Rows are packed as for `causal`: documents do not see each other unless `isolate` is false. Where the tokenizer has a
token that begins a text (`[CLS]`) each row is framed by it and the separator. With `next_sentence` a row is a pair of
segments of one document, and the model also says whether they belong together (`pairs.py`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PrivateAttr, model_validator

from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch, Context, Loss, Objective
from yanmo.objectives.marks import Marks
from yanmo.objectives.packing import documents, generators, padded, real
from yanmo.objectives.pairs import Pairs, pair_loss
from yanmo.objectives.surprise import selected
from yanmo.text.spelling import Speller


class Masked(Objective):
    """Predict hidden tokens from both sides, as BERT does.

    `rate`: the share of tokens that is predicted; of these, `masked` are hidden behind the mask and `random` behind another
    token. `next_sentence`: also tell whether two segments follow each other (nsp) or in which order they stood (sop),
    its loss weighed by `pair_weight`."""

    kinds: ClassVar[tuple[str, ...]] = ("masked",)

    context: int | None = Field(default=None, gt=4)  # T; None: chosen by the plan
    rate: float = Field(default=0.15, gt=0, lt=1)
    masked: float = Field(default=0.8, ge=0, le=1)
    random: float = Field(default=0.1, ge=0, le=1)
    whole_word: bool = False
    next_sentence: Literal["none", "nsp", "sop"] = "none"
    pair_weight: float = Field(default=1.0, gt=0)
    isolate: bool = True

    _marks: Marks = PrivateAttr()
    _speller: Speller = PrivateAttr()

    @model_validator(mode="after")
    def _shares(self) -> Masked:
        if self.masked + self.random > 1 + 1e-9:
            raise ValueError(str(text("'masked' and 'random' that are at most 1 together")))
        if self.next_sentence == "none" and "pair_weight" in self.model_fields_set and self.pair_weight != 1.0:
            raise ValueError(str(text("'next_sentence', as without it 'pair_weight' has no effect")))
        if self.next_sentence != "none" and not self.isolate:
            raise ValueError(str(text("'isolate' left out: a pair of segments is of one document")))
        return self

    def bind(self, context: Context) -> Masked:
        bound = self.model_copy()
        bound._marks = Marks.of(context.tokenizer)
        bound._marks.needed_mask(self.type)
        bound._speller = Speller(context.tokenizer)
        if self.whole_word:
            bound._speller.need_words("objective.whole_word")
        return bound

    @property
    def pairs(self) -> bool:
        return self.next_sentence != "none"

    def stretch(self, context: int) -> int:
        if self.pairs:
            return context - 3
        return context - (0 if self._marks.begin is None else 2)

    def check(self, model: Any) -> None:
        super().check(model)
        if self.pairs and (getattr(model, "pairs", None) is None or getattr(model, "types", None) is None):
            raise RequestError("objective.next_sentence", text("a model that judges pairs of sentences"), model.family,
                               text("set its head.pooler and head.pairs to true and its embedding.types to 2"))  # fmt: skip

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows as they were in `targets`, with `weights` 1 where a token is to be predicted; as the model sees them in
        `inputs`. `labels` of pairs: 0 as it was, 1 not, -100 for a row that holds no pair."""
        own = generators(len(rows), rng)
        texts = [np.asarray(row.tokens, np.int64) for row in rows]
        types: list[np.ndarray] | None = None
        labels = None
        if self.pairs:
            made = Pairs(self._marks, self._speller, self.next_sentence == "sop").of(texts, own)
            texts, types = [pair.tokens for pair in made], [pair.types for pair in made]
            labels = torch.tensor([pair.label for pair in made])
        elif self._marks.begin is not None:
            texts = [np.array([self._marks.begin, *ids, self._marks.end]) for ids in texts]
        chosen = [self.choose(ids, dice) for ids, dice in zip(texts, own)]
        tokens = [self.corrupt(ids, units, dice) for ids, units, dice in zip(texts, chosen, own)]
        whole = padded(texts, self._marks.pad)
        return Batch(
            Inputs(
                torch.from_numpy(padded(tokens, self._marks.pad)),
                documents=None if self.pairs or not self.isolate else documents(whole, self._marks.border),
                types=None if types is None else torch.from_numpy(padded(types, 0)),
                mask=real(texts),
            ),
            targets=torch.from_numpy(whole),
            weights=torch.from_numpy(padded([units >= 0 for units in chosen], 0, np.float32)),
            labels=labels,
            items=[row.example for row in rows],
        )

    def choose(self, ids: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        """(T,): the number of the unit (token or word) that a position is predicted with, -1 where it is not. Units come in
        a random order until `rate` of the tokens are chosen; one that would be too much is passed over."""
        special = self._marks.special[ids]
        units = self._speller.words(ids) if self.whole_word else np.where(special, -1, np.cumsum(~special) - 1)
        sizes = np.bincount(units[units >= 0])
        budget = max(1, round(self.rate * int(sizes.sum())))
        picked = np.full(len(sizes) + 1, -1)  # and for those without a unit, numbered -1
        left = budget
        for unit in dice.permutation(len(sizes)).tolist():
            if sizes[unit] <= left:
                picked[unit] = unit
                left -= int(sizes[unit])
                if not left:
                    break
        if left == budget and len(sizes):  # one word that is longer than all that may be hidden
            shortest = int(sizes.argmin())
            picked[shortest] = shortest
        return picked[units]

    def corrupt(self, ids: np.ndarray, units: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        """What the model sees; one throw of the dice for each unit."""
        fate = dice.random(len(ids))[units]  # those without a unit throw too, and nobody looks
        ordinary = self._marks.ordinary
        others = ordinary[dice.integers(len(ordinary), size=len(ids))]
        seen = np.where(fate < self.masked, self._marks.needed_mask(self.type), ids)
        seen = np.where((fate >= self.masked) & (fate < self.masked + self.random), others, seen)
        return np.where(units >= 0, seen, ids)

    def loss(self, model: Any, batch: Batch) -> Loss:
        loss, output = selected(model, batch, self.smoothing)
        if self.pairs:
            pair_loss(loss, model.pair_logits(output.hidden), batch, self.pair_weight)
        return loss
