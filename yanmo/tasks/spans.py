"""From a score for each token to be the first of an answer and one to be its last, to the best places in the text.

    window   [CLS] who …? [SEP] … researched … [SEP]        first (T,)   last (T,)   places: token → characters
    span     score = first[i] + last[j],  i ≤ j < i + longest

as BERT reads SQuAD (Devlin et al. 2019, section 4.2 and 4.3): every pair of a window is looked at, not the best twenty firsts
and lasts alone; a span begins in the one window that sees most around its first token; of no answer the windows' lowest
score counts, since one window that sees the answer is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from yanmo.text.windows import Window

NOWHERE = (0, 0)  # the characters that stand for no answer


class Spot(NamedTuple):
    """Characters [start, end) of the text with their score; (0, 0): no answer."""

    start: int
    end: int
    score: float


def best_spans(windows: Sequence[Window], scores: Sequence[Any], longest: int = 30, count: int = 20) -> list[Spot]:
    """The `count` best spans of at most `longest` tokens and the score of no answer, the highest first.

    `scores`: (T, 2) or longer for each window, of being first and last. Of equal scores the earlier and shorter stands
    first. Empty where a score that matters is not finite: nothing can be said then.
    """
    found: dict[tuple[int, int], float] = {}
    nothing = np.inf
    for window, given in zip(windows, scores, strict=True):
        length = len(window.tokens)
        first, last = np.asarray(given, dtype=np.float64)[:length].T
        ends = np.array([place is not None for place in window.places])
        if not np.isfinite(np.concatenate([first[ends], last[ends], [first[window.nowhere], last[window.nowhere]]])).all():
            return []
        nothing = min(nothing, float(first[window.nowhere] + last[window.nowhere]))
        begins = np.flatnonzero(window.own)
        if not len(begins):
            continue
        at = begins[:, None] + np.arange(longest)  # (N, longest): where a span from each beginning may end
        inside = at < length
        at = np.minimum(at, length - 1)
        total = np.where(inside & ends[at], first[begins][:, None] + last[at], -np.inf)
        flat = total.ravel()
        keep = min(2 * count, flat.size)  # tokens of one character's bytes are one place
        for index in np.argpartition(-flat, keep - 1)[:keep]:
            if not np.isfinite(flat[index]):
                continue
            row, column = divmod(int(index), longest)
            head, tail = window.places[begins[row]], window.places[at[row, column]]
            assert head is not None
            assert tail is not None
            span = (head[0], tail[1])
            found[span] = max(found.get(span, -np.inf), float(flat[index]))
    spots = sorted((Spot(*span, score) for span, score in found.items()), key=lambda s: (-s.score, s.start, s.end))[:count]
    if np.isfinite(nothing):
        spots.append(Spot(*NOWHERE, nothing))
    return sorted(spots, key=lambda s: (-s.score, s.start, s.end))
