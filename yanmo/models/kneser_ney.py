"""Counting n-grams and the estimates of interpolated modified Kneser-Ney (Chen & Goodman 1998, section 3.2 and eq. 26).

    p(w | h) = (c(h w) - D(c(h w))) / c(h •)  +  γ(h) p(w | h'),      h' = h without its first token
    γ(h) = Σ_w D(c(h w)) / c(h •),            γ(h) = 1 where nothing followed h
    p(w) = (c(w) - D(c(w))) / c(•)  +  γ / V                                (so that every token has a probability)

At the highest order c is how often the n-gram occurs; below it, how many different tokens precede it, except that an
n-gram that begins with the document border keeps its plain count, since nothing can precede it. Each order has three
discounts, for counts of 1, 2 and 3 or more, from its counts of counts n1 … n4: Y = n1 / (n1 + 2 n2),
D_i = i - (i + 1) Y n_{i+1} / n_i. Where that cannot be had (an n_i is 0, a D_i is not in (0, i]: tiny or artificial
text) the order takes FALLBACK, as KenLM's --discount_fallback does.

The border `<|endoftext|>` plays both <s> (as context) and </s> (as target), and no n-gram goes across it: only its first
or last token may be the border. A pruned n-gram gives all its count to γ, so that the sum stays 1.

How it is counted: all positions of the stream are sorted once by the tokens that follow them (a sort on up to 63 bits
of packed tokens, doubled until the order is reached: Manber & Myers 1990). In that order the n-grams of every length
are runs of equal neighbours, so each level costs a few passes and no further sort, and the children of a node are a
contiguous range of the next level: a trie without pointers. Takes 50 to 100 bytes of memory a token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]

FALLBACK = (0.5, 1.0, 1.5)
LONGEST_STREAM = 2**31 - 2  # positions and node numbers are 32 bits wide


@dataclass
class Level:
    """The n-grams of one length, sorted by their tokens; nodes of a trie.

    Level 1 has a node for each token of the vocabulary, whether seen or not. `children[j]` nodes of the next level extend
    node j, in order, so that their range is [Σ children[:j], Σ children[:j+1]).
    """

    tokens: Array  # (M,) the last token of each n-gram
    counts: Array  # (M,) adjusted counts c
    discounts: tuple[float, float, float]  # D1, D2, D3+
    children: Array | None = None  # (M,); None at the highest order
    pruned: Array | None = None  # (M,) the counts of the pruned extensions of each node; None: nothing was pruned

    def __len__(self) -> int:
        return len(self.tokens)


def estimate_discounts(counts: Array) -> tuple[float, float, float]:
    """D1, D2, D3+ of one order from its adjusted counts (Chen & Goodman 1998, eq. 26), or FALLBACK."""
    n = np.bincount(counts[counts <= 4].astype(np.int64), minlength=5).tolist()
    if 0 in n[1:5]:
        return FALLBACK
    y = n[1] / (n[1] + 2 * n[2])
    d1, d2, d3 = (i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3))
    return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else FALLBACK


def count(
    stream: Array,
    vocabulary: int,
    border: int,
    order: int,
    prune: list[int] | None = None,
    progress: Callable[..., None] | None = None,
) -> list[Level]:
    """The levels 1 … order of the trie of `stream` (ids below `vocabulary`, each document begun by `border`).

    `prune[k - 1]` is the least number of occurrences for an n-gram of length k to be kept, not falling with k; the last
    one holds for the longer ones. `progress(1, order=k, ngrams=M)` is called after each level.
    """
    assert 0 < len(stream) <= LONGEST_STREAM, f"a stream of {len(stream)} tokens"
    tokens = np.empty(len(stream) + 1, stream.dtype)
    tokens[:-1], tokens[-1] = stream, border  # the last document ends too
    assert int(tokens.max()) < vocabulary, f"token {int(tokens.max())} in a vocabulary of {vocabulary}"
    minimum = [1] * order if not prune else [prune[min(k, len(prune) - 1)] for k in range(order)]

    lengths = _lengths(tokens, border, order)
    positions = _sorted_positions(tokens, vocabulary, order)
    lengths = lengths[positions]
    nodes = tokens[positions]  # the node of the level before, for each position still in play
    here: Array = tokens  # the node of the level before that begins at each position of the stream
    raw = np.bincount(tokens[1:], minlength=vocabulary)  # the stream's first border ends nothing: each later one does
    levels = [Level(narrow(np.arange(vocabulary)), narrow(raw), FALLBACK)]
    keep, parents = [np.ones(vocabulary, bool)], [np.zeros(0, np.int32)]
    from_border = np.zeros(vocabulary, bool)  # a lone border is a target, and its count is adjusted like any other

    if progress is not None:
        progress(1, order=1, ngrams=int(np.count_nonzero(raw)))
    for k in range(2, order + 1):
        alive = lengths >= k
        if not alive.all():
            positions, lengths, nodes = positions[alive], lengths[alive], nodes[alive]
        last = tokens[positions + (k - 1)]
        new = np.ones(len(positions), bool)
        np.not_equal(nodes[1:], nodes[:-1], out=new[1:])
        new[1:] |= last[1:] != last[:-1]
        starts = np.flatnonzero(new)
        parent, begin = nodes[starts], positions[starts]
        raw = np.diff(starts, append=len(positions))

        below = levels[-1]
        adjusted = np.bincount(here[begin + 1], minlength=len(below))
        below.counts = narrow(np.where(from_border, below.counts, adjusted))
        below.children = narrow(np.bincount(parent, minlength=len(below)))
        levels.append(Level(narrow(last[starts]), narrow(raw), FALLBACK))
        if prune:
            keep.append(raw >= minimum[k - 1])
            parents.append(parent)
        from_border = tokens[begin] == border
        nodes = np.cumsum(new, dtype=np.int32)
        nodes -= 1
        if k < order:
            here = np.empty(len(tokens), np.int32)
            here[positions] = nodes
        if progress is not None:
            progress(1, order=k, ngrams=len(starts))

    for level in levels:
        level.discounts = estimate_discounts(level.counts)
    if prune:
        _prune(levels, keep, parents)
    return levels


def _lengths(tokens: Array, border: int, order: int) -> Array:
    """How many tokens the n-gram that begins at each position can have: up to the next border, which it includes. uint8"""
    ends = np.flatnonzero(tokens == border)
    lengths = np.full(len(tokens), order, np.uint8)
    for distance in range(order - 1):  # the border `distance` tokens further on is the last token: distance + 1 in all
        spots = ends - distance
        spots = spots[spots >= 0]
        lengths[spots] = np.minimum(lengths[spots], distance + 1)
    # a border that begins a document sees the next border, not itself
    following = np.diff(ends, append=len(tokens) - 1 + order) + 1
    lengths[ends] = np.minimum(following, order)
    lengths[-1] = 1
    return lengths


def _sorted_positions(tokens: Array, vocabulary: int, order: int) -> Array:
    """All positions, sorted by the first `order` tokens from each, int32.

    Borders need no care here: what follows a border only sorts the positions within n-grams that end with it.
    """
    bits = max((vocabulary - 1).bit_length(), 1)
    depth = min(order, 63 // bits)
    key = tokens.astype(np.int64)
    for distance in range(1, depth):
        key <<= bits
        key[:-distance] |= tokens[distance:]
    ordered, positions = _sort(key)
    while depth < order:  # ranks by `depth` tokens, two side by side, are a key for twice as many
        new = np.ones(len(key), bool)
        np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
        rank = np.empty(len(key), np.int32)
        rank[positions] = np.cumsum(new, dtype=np.int32)
        del ordered, positions, new
        np.left_shift(rank, 32, out=key, dtype=np.int64)
        key[:-depth] |= rank[depth:]
        ordered, positions = _sort(key)
        depth *= 2
    return positions.astype(np.int32)


def _sort(key: Array) -> tuple[Array, Array]:
    """The sorted key (not negative) and where each came from; torch's sort takes a fifth of numpy's argsort."""
    ordered, positions = torch.from_numpy(key).sort()
    return ordered.numpy(), positions.numpy()


def _prune(levels: list[Level], keep: list[Array], parents: list[Array]) -> None:
    """Drops the n-grams that `keep` does not mark; what they counted goes to their context's γ."""
    for context, level, kept, parent in zip(levels[:-1], levels[1:], keep[1:], parents[1:], strict=True):
        context.children = np.bincount(parent[kept], minlength=len(context))
        context.pruned = np.bincount(parent[~kept], weights=level.counts[~kept], minlength=len(context)).astype(np.int64)
    for level, kept in zip(levels, keep, strict=True):
        level.tokens, level.counts = level.tokens[kept], narrow(level.counts[kept])
        level.children = None if level.children is None else narrow(level.children[kept])
        level.pruned = None if level.pruned is None else narrow(level.pruned[kept])


def narrow(values: Array) -> Array:
    """The same whole numbers in the narrowest unsigned type that holds them all: few bytes, always the same ones."""
    largest = int(values.max(initial=0))
    return values.astype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32, copy=False)
