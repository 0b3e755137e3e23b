"""Which word of a sentence stands for which of its translation: IBM Model 1 (Brown et al. 1993, section 4.1).

    p(t | s)      how probably target word t comes from source word s: by EM over all sentence pairs, in which each target
                  word comes from one source word, or from none (word 0, NULL), every one equally probable beforehand

A dictionary is what the source words turn out to be aligned with: the best alignment of each sentence gives each source
word some target words side by side, or none, and how often each was so is its entry. So "toolbar" may become two words
and "the" none, which p(t | s) alone cannot say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NULL = 0
LONGEST = 100  # words of a sentence; a longer pair teaches nothing
PHRASE = 3  # target words that one source word becomes at most

Pair = tuple[Sequence[int], Sequence[int]]  # source and target words as numbers from 1


class Links:
    """Every source word with every target word of its sentence: of each target word in turn, first NULL, then the source
    words in order. `begins`: where each target word's links begin; `pair`: the number of each link's pair of words."""

    def __init__(self, pairs: Sequence[Pair]):
        self.used = [(own, other) for own, other in pairs if 0 < len(own) <= LONGEST and 0 < len(other) <= LONGEST]
        sources, targets, sizes = [], [], []
        for own, other in self.used:
            with_null = np.array([NULL, *own], np.int64)
            sources.append(np.tile(with_null, len(other)))
            targets.append(np.repeat(np.array(other, np.int64), len(with_null)))
            sizes += [len(with_null)] * len(other)
        none = [np.zeros(0, np.int64)]
        source, target = np.concatenate(sources or none), np.concatenate(targets or none)
        width = int(target.max(initial=0)) + 1
        unique, self.pair = np.unique(source * width + target, return_inverse=True)
        self.source, self.target = unique // width, unique % width  # of each pair of words
        self.begins = np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0, np.int64)
        self.word = np.repeat(np.arange(len(sizes)), sizes)  # which target word each link is of


def translation_probabilities(links: Links, rounds: int) -> Array:
    """p(t | s) of each pair of words (P,), after `rounds` of EM from p(t | s) all alike."""
    probability = np.ones(len(links.source))
    for _ in range(rounds):
        each = probability[links.pair]
        each /= np.add.reduceat(each, links.begins)[links.word] if len(each) else 1.0
        counts = np.bincount(links.pair, weights=each, minlength=len(probability))
        totals = np.bincount(links.source, weights=counts)
        probability = counts / totals[links.source]
    return probability


def entries(links: Links, probability: Array) -> dict[int, Counter[tuple[int, ...]]]:
    """For each source word, what it became in the best alignments, and how often: target words side by side (the first longest
    run of at most PHRASE), or () where nothing came of it."""
    found: dict[int, Counter[tuple[int, ...]]] = defaultdict(Counter)
    each = probability[links.pair]
    at = 0
    for own, other in links.used:
        size = len(own) + 1
        table = each[at : at + size * len(other)].reshape(len(other), size)
        at += size * len(other)
        best = table.argmax(1)  # of equals the first
        for place, word in enumerate(own, 1):
            found[word][_run(np.flatnonzero(best == place), other)] += 1
    return dict(found)


def _run(places: Array, words: Sequence[int]) -> tuple[int, ...]:
    """The first longest stretch of neighbours among places, as words."""
    if not len(places):
        return ()
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    longest = max(runs, key=len)[:PHRASE]
    return tuple(int(words[place]) for place in longest)
