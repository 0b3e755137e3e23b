"""Decoding by a classifier's advice: of the model's likeliest next tokens those rise that make a wanted label likelier.

    log p(x_t | x_<t, a)  =  log p(x_t | x_<t) + strength · log p(a | x_≤t) + const

(FUDGE: Yang and Klein 2021, arXiv:2104.05218, equation 2; there the strength is 1.) The classifier is asked about each of the
`candidates` likeliest tokens behind what is written so far; all others are impossible. At strength 0 the model chooses among the
same candidates by itself, which is what control is to be held against. A classifier that shall judge texts which are not
finished is fitted on beginnings of texts (`augment: [{type: beginning}]`).

The model stays as it is, and any that writes from left to right will do; log probabilities that are told of tokens are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from yanmo.core.errors import RequestError, nearest
from yanmo.core.messages import text

if TYPE_CHECKING:
    from yanmo.inference.model import Model
    from yanmo.text.tokenizer import Tokenizer

CANDIDATES = 50  # tokens that are weighed at each step
LEAST = 1e-9  # a probability counts as no less: a classifier is never as sure as it says
HALF = "\ufffd"  # what the end of a text decodes to where a character is not complete


@dataclass(frozen=True)
class Guide:
    """A classifier at work. `weigh`: N texts → (N, L) float, the probability of each of `labels`."""

    weigh: Callable[[Sequence[str]], np.ndarray]
    labels: tuple[str, ...]
    candidates: int = CANDIDATES

    def wish(self, label: str, strength: float, before: Sequence[int] = ()) -> Wish:
        """RequestError for a label that the classifier does not know."""
        if label not in self.labels:
            raise RequestError("guide", text("one of the classifier's labels"), label, nearest(label, self.labels))
        return Wish(self, self.labels.index(label), strength, tuple(before))


@dataclass(frozen=True)
class Wish:
    """What one request wants: the guide's label number `label`. `before`: the tokens of the text that the answer goes on with."""

    guide: Guide
    label: int
    strength: float
    before: tuple[int, ...] = ()


def guide_of(model: Model, where: str, candidates: int = CANDIDATES) -> Guide:
    """A guide of an opened classifier; RequestError for a model that gives no single label."""
    loaded = model.loaded
    if not loaded.labels or loaded.head != "classify":
        raise RequestError(where, text("a model that labels texts"), str(loaded.config.get("model_type")))
    labels = tuple(loaded.labels)
    even = dict.fromkeys(labels, 1 / len(labels))  # of a text of which the classifier says nothing

    def weigh(texts: Sequence[str]) -> np.ndarray:
        found = [prediction.scores or even for prediction in model.predict(list(texts))]
        return np.array([[scores[label] for label in labels] for scores in found], dtype=np.float64)

    return Guide(weigh, labels, candidates)


def steered(logits: Tensor, wishes: Sequence[Wish | None], written: Sequence[Sequence[int]], tokenizer: Tokenizer) -> Tensor:
    """Logits (B, V) as each row's wish has them; `written`: the row's tokens so far. Rows without a wish stay as they are.

    The classifiers are asked once for all rows; a candidate's logit is the model's log probability plus the advice."""
    logits = logits.clone()
    asked: dict[int, tuple[Guide, dict[str, int]]] = {}
    rows = []
    for row, wish in enumerate(wishes):
        if wish is None:
            continue
        known = torch.where(torch.isfinite(logits[row].float()), logits[row].float(), -torch.inf).log_softmax(-1)
        chosen = known.topk(min(wish.guide.candidates, len(known)))
        _, texts = asked.setdefault(id(wish.guide), (wish.guide, {}))
        before = [*wish.before, *written[row]]
        contents = [tokenizer.decode([*before, token]).rstrip(HALF) for token in chosen.indices.tolist()]
        if wish.strength:
            for content in contents:
                texts.setdefault(content, len(texts))
        rows.append((row, wish, chosen, contents))
    found: dict[int, Any] = {key: guide.weigh(list(texts)) for key, (guide, texts) in asked.items() if texts}
    for row, wish, chosen, contents in rows:
        values = chosen.values
        if wish.strength:
            places = asked[id(wish.guide)][1]
            given = found[id(wish.guide)][[places[content] for content in contents], wish.label]
            sure = np.log(np.clip(np.nan_to_num(given, nan=0.0), LEAST, 1.0))
            values = values + wish.strength * torch.from_numpy(sure).to(values)
        logits[row] = torch.full_like(logits[row], -torch.inf).scatter(0, chosen.indices, values.to(logits.dtype))
    return logits
