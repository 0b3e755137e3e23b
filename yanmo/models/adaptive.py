"""What a text has said so far, counted on top of what other texts say: the more it has said, the more its own counts weigh.

    q₀(w) = p(w | h) of the counts of other texts
    q_k(w) = (max(c_k(w) - d_k, 0) + (θ_k + d_k · N_k) · q_{k-1}(w)) / (C_k + θ_k)      k = 1 … LONGEST, as long as C_k > 0

c_k(w): how often w followed the last k tokens in this text; C_k: how often anything did; N_k: how many kinds of tokens did.
This is what a hierarchical Pitman-Yor process predicts when all tokens of a kind sit at one table (Teh 2006, "A hierarchical
Bayesian language model based on Pitman-Yor processes", section 4), with another corpus at its root (Wood and Teh 2009, "A
hierarchical nonparametric Bayesian approach to statistical language model domain adaptation"). Discounts d_k and strengths θ_k
are learned together with the gate of a mixture (`mixture.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from yanmo.models.recall import ends, within

LONGEST = 6  # tokens of context
LEAST = 1e-30  # a probability that has a logarithm

Array = NDArray[Any]


class Adaptive(nn.Module):
    """The discounts, as logits, and the logarithms of the strengths: (LONGEST,) each."""

    def __init__(self) -> None:
        super().__init__()
        self.discount = nn.Parameter(torch.empty(LONGEST))
        self.strength = nn.Parameter(torch.empty(LONGEST))

    def initialise(self) -> None:
        """Half of a count, and one count and a half."""
        nn.init.zeros_(self.discount)
        nn.init.ones_(self.strength)

    def forward(self, base: Tensor, said: Tensor) -> Tensor:
        """ln q (…) of tokens with ln q₀ `base` (…), by what `counts` says of them: (…, LONGEST, 3), float32."""
        found = base.exp()
        for order, (discount, strength) in enumerate(zip(self.discount.sigmoid(), self.strength.exp())):
            total, kinds, count = said[..., order, :].unbind(-1)
            own = ((count - discount).clamp(min=0) + (strength + discount * kinds) * found) / (total + strength)
            found = torch.where(total > 0, own, found)
        return found.clamp(min=LEAST).log()

    @torch.no_grad()
    def spread(self, base: Array, tokens: Array, begins: Array, places: Array) -> tuple[Array, Array]:
        """ln q of the whole vocabulary after each of `places` (n,) of a text (S,), from ln q₀ `base` (n, V), and C and N there,
        (n, LONGEST, 2); float32."""
        found, said = np.exp(base), np.zeros((len(places), LONGEST, 2), np.float32)
        discounts, strengths = (part.double().cpu().tolist() for part in (self.discount.sigmoid(), self.strength.exp()))
        inside = within(begins)
        for row, place in enumerate(places.tolist()):
            began = place - inside[place]
            earlier = np.arange(began, place)
            for order, (discount, strength) in enumerate(zip(discounts, strengths)):
                back = order  # of the context's tokens, the first that has not been compared
                earlier = earlier[earlier >= began + back]
                earlier = earlier[tokens[earlier - back] == tokens[place - back]] if place - back >= began else earlier[:0]
                if not len(earlier):
                    break
                kinds, count = np.unique(tokens[earlier + 1], return_counts=True)
                total = len(earlier) + strength
                found[row] *= (strength + discount * len(kinds)) / total
                found[row, kinds] += (np.maximum(count - discount, 0) / total).astype(np.float32)
                said[row, order] = len(earlier), len(kinds)
        np.maximum(found, LEAST, out=found)
        return np.log(found, out=found), said


def counts(tokens: Array, begins: Array, first: int, targets: Array) -> Array:
    """For the positions from `first` on of a text (S,) and the token after each that is asked about, `targets` (S - first,): C, N
    and c of the contexts of 1 … LONGEST tokens that end there, (S - first, LONGEST, 3) float32.

    `begins` (S,) bool: where another document begins, behind which nothing is looked for."""
    width = len(tokens)
    found = np.zeros((width, LONGEST, 3), np.float32)
    asked = np.concatenate([tokens[1 : first + 1], targets]).astype(np.int64)  # before `first`, nobody asks
    came = np.concatenate([tokens[1:], [0]]).astype(np.int64)  # after the last one nothing has come, and nobody looks at it
    kinds = int(max(asked.max(), came.max())) + 1
    inside, places = within(begins), np.arange(width)
    for order, keys in enumerate(ends(tokens, begins, LONGEST)):
        places = places[inside[places] >= order]
        places = places[np.argsort(keys[places], kind="stable")]  # equal contexts together, each as they came
        new = _new(keys[places])
        alone = new & np.append(new[1:], True)
        places = places[~alone]  # neither said before nor again: so with every longer one
        if not len(places):
            break
        new = _new(keys[places])
        group = np.cumsum(new) - 1
        since = _since(new)
        events, questions = group * kinds + came[places], group * kinds + asked[places]
        fresh = np.empty(len(places), bool)
        by = np.argsort(events, kind="stable")
        fresh[by] = _new(events[by])
        before = np.cumsum(fresh) - fresh
        found[places, order, 0] = since
        found[places, order, 1] = before - before[np.arange(len(places)) - since]
        both = np.stack([questions, events], 1).reshape(-1)  # what is asked at a position is asked before it is known
        by = np.argsort(both, kind="stable")
        known = by % 2
        so_far = np.cumsum(known) - known
        same = so_far - so_far[np.arange(len(by)) - _since(_new(both[by]))]
        found[places[by[known == 0] // 2], order, 2] = same[known == 0]
        places = np.sort(places)
    return found[first:]


def _new(values: Array) -> Array:
    """(n,) bool: where another value begins than the one before."""
    return np.concatenate([np.ones(min(len(values), 1), bool), values[1:] != values[:-1]])


def _since(new: Array) -> Array:
    """(n,): how far back the last one of `new` is."""
    places = np.arange(len(new))
    return places - np.maximum.accumulate(np.where(new, places, 0))
