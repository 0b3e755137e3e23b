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

How it is counted (Heafield et al. 2013, "Scalable modified Kneser-Ney language model estimation", with one sort fewer):

1. The n-gram of the highest order at each position of the stream, cut where a border ends it, goes to a `Sorter`.
2. Sorted, equal ones are neighbours, and so are those with a common beginning: one walk over them gives the n-grams of
   every length, how often each occurs and how many extend it, in the order of a trie, a node's children side by side.
3. Each n-gram, without its first token, goes to the sorter of its length: there it stands as often as different tokens
   precede it, and those sorted counts fit the trie's order without a search.
4. A last walk, level by level, turns counts into shares and γ.

Every step reads and writes in order, so all of them work from disk where memory ends: the same numbers either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yanmo.models.grams import BLOCK, Array, Column, Packing, Sorter, Words
from yanmo.models.trie import Trie, narrow

FALLBACK = (0.5, 1.0, 1.5)
PER_TOKEN = 90  # bytes of memory a token of the stream may take where nothing is spilled
CHILDREN = 1 << 20  # n-grams whose shares are made at once


@dataclass
class Level:
    """The n-grams of one length, sorted by their tokens; nodes of a trie.

    Level 1 has a node for each token of the vocabulary, whether seen or not. `children` nodes of the next level extend
    node j, in order, so that their range is [Σ children[:j], Σ children[:j+1]).
    """

    tokens: Column  # (M,) the last token of each n-gram
    raw: Column  # (M,) how often it occurs
    counts: Column  # (M,) adjusted counts c
    children: Column  # (M,); empty at the highest order
    discounts: tuple[float, float, float] = FALLBACK  # D1, D2, D3+
    below: int = 0  # n-grams whose first token comes before the border
    borders: int = 0  # n-grams that begin with the border

    def __len__(self) -> int:
        return len(self.tokens)


def estimate_discounts(n: Array) -> tuple[float, float, float]:
    """D1, D2, D3+ of one order (Chen & Goodman 1998, eq. 26) from `n` (5,), how many n-grams have count 1 … 4; FALLBACK
    where there are none."""
    n1, n2, n3, n4 = (int(value) for value in n[1:5])
    if 0 in (n1, n2, n3, n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else FALLBACK


def count(
    stream: Array,
    vocabulary: int,
    border: int,
    order: int,
    progress: Callable[..., None] | None = None,
    *,
    folder: Path | None = None,
    memory: int = 1 << 30,
) -> list[Level]:
    """The levels 1 … order of the trie of `stream` (ids below `vocabulary`, each document begun by `border`).

    With a `folder` about `memory` bytes are held at most and the rest lies there. `progress(1, order=k, ngrams=M)` is
    called when a level stands.
    """
    assert len(stream), "a stream without tokens"
    packing = Packing(order, vocabulary)
    suffixes = {k: Sorter(Packing(k, vocabulary), folder, memory // (2 * order)) for k in range(2, order)}
    levels = [_level(k, vocabulary, len(stream), folder) for k in range(1, order + 1)]
    whole = Sorter(packing, folder, memory // 3)
    seen = np.zeros(vocabulary, np.int64)
    step = BLOCK if folder is None else max(min(BLOCK, memory // 800), 1 << 10)
    for start in range(0, len(stream), step):
        tokens = _stretch(stream, start, step, order, border)
        size = min(step, len(stream) - start)
        assert int(tokens.max()) < vocabulary, f"token {int(tokens.max())} in a vocabulary of {vocabulary}"
        seen += np.bincount(tokens[1 : size + 1], minlength=vocabulary)  # the first border ends nothing: each later one does
        if order > 1:
            whole.add(packing.pack(_windows(tokens, size, order, border)))
    whole.memory //= 2
    if order > 1:
        _walk(whole, levels, suffixes, border, vocabulary)
    _first(levels[0], seen, order)
    if progress is not None:
        progress(1, order=1, ngrams=int(np.count_nonzero(seen)))
    for k, level in enumerate(levels, 1):
        if 1 < k < order:
            _adjust(level, suffixes[k])
        elif k == order and order > 1:
            level.counts.remove()
            level.counts = level.raw
        n = np.zeros(5, np.int64)
        for start in range(0, len(level), BLOCK):
            counts = level.counts.read(start, start + BLOCK)
            n += np.bincount(counts[counts <= 4].astype(np.int64), minlength=5)
        level.discounts = estimate_discounts(n)
        if progress is not None and k > 1:
            progress(1, order=k, ngrams=len(level))
    return levels


def _level(length: int, vocabulary: int, tokens: int, folder: Path | None) -> Level:
    number = np.uint32 if tokens < 2**32 else np.uint64

    def column(name: str, dtype: Any) -> Column:
        return Column(dtype, None if folder is None else folder / f"{name}.{length}")

    return Level(column("tokens", narrow(vocabulary - 1)), column("raw", number), column("counts", number),
                 column("children", np.uint32))  # fmt: skip


def _stretch(stream: Array, start: int, size: int, order: int, border: int) -> Array:
    """`size` tokens from `start` on and the order - 1 (at least one) behind them; the last document ends with a border
    too, and nothing follows it."""
    part = np.asarray(stream[start : start + size + max(order - 1, 1)])
    tokens = np.zeros(min(size, len(stream) - start) + max(order - 1, 1), np.int64)
    tokens[: len(part)] = part
    if len(part) < len(tokens):
        tokens[len(part)] = border
    return tokens


def _windows(tokens: Array, size: int, order: int, border: int) -> list[Array]:
    """The first, second … tokens (size,) of the n-gram that begins at each place; 0 behind a border that ends it."""
    found = [tokens[:size], tokens[1 : size + 1]]
    open_ = np.ones(size, bool)
    for distance in range(2, order):
        open_ &= found[-1] != border
        found.append(tokens[distance : distance + size] * open_)
    return found


# ------------------------------------------------------------------------------------------------ the walk


class _Growing:
    """A level while it is made: its last node may go on in the next block, so it is held back."""

    def __init__(self, level: Level):
        self.level = level
        self.last: Array | None = None  # (3, 1): token, occurrences, children

    def feed(self, tokens: Array, raw: Array, children: Array, before: tuple[int, int]) -> None:
        """New nodes; `before` are the occurrences and children that still belong to the last one."""
        if self.last is not None:
            self.last[1:, 0] += before
        else:
            assert before == (0, 0), before
        new = np.stack([tokens, raw, children])
        whole = new if self.last is None else np.concatenate([self.last, new], 1)
        self.last = whole[:, -1:].copy() if whole.shape[1] else None
        self.put(whole[:, :-1])

    def put(self, nodes: Array) -> None:
        self.level.tokens.append(nodes[0])
        self.level.raw.append(nodes[1])
        self.level.children.append(nodes[2])

    def end(self) -> None:
        if self.last is not None:
            self.put(self.last)


def _walk(whole: Sorter, levels: list[Level], suffixes: dict[int, Sorter], border: int, vocabulary: int) -> None:
    """Sorted n-grams of the highest order to the nodes of the levels 2 …; level 1 gets its children and adjusted counts."""
    packing, order = whole.packing, whole.packing.order
    growing = {k: _Growing(levels[k - 1]) for k in range(2, order + 1)}
    children, counts = np.zeros(vocabulary, np.int64), np.zeros(vocabulary, np.int64)
    last: Words = []  # of the block before
    for block in whole.blocks():
        words, times = _distinct(packing, block)
        shown = [np.concatenate(pair) for pair in zip(last or [word[:1] for word in words], words)]
        begun: list[tuple[Array, Array, int]] = []  # of each level: where nodes begin, their occurrences, those before them
        alive = np.ones(len(times), bool)
        for k in range(2, order + 1):
            if k > 2:
                alive &= packing.token(words, k - 2) != border
            new = ~packing.same(shown, k)
            new[0] |= not last
            begins = np.flatnonzero(new & alive)
            passed = np.concatenate([[0], np.cumsum(times * alive)])
            marks = passed[begins]
            begun.append((begins, np.diff(marks, append=passed[-1]), int(marks[0] if len(marks) else passed[-1])))
        last = [word[-1:] for word in words]
        for k, (begins, raw, before) in enumerate(begun, 2):
            picked = [word[begins] for word in words]
            tokens = [packing.token(picked, number) for number in range(k)]
            levels[k - 1].below += int(np.count_nonzero(tokens[0] < border))
            levels[k - 1].borders += int(np.count_nonzero(tokens[0] == border))
            extending = begun[k - 1][0] if k < order else begins[:0]
            place = np.searchsorted(extending, begins)
            lead = int(place[0]) if len(place) else len(extending)
            growing[k].feed(tokens[-1], raw, np.diff(place, append=len(extending)), (before, lead))
            if k == 2:
                children += np.bincount(tokens[0], minlength=vocabulary)
                counts += np.bincount(tokens[1], minlength=vocabulary)
            else:
                suffixes[k - 1].add(suffixes[k - 1].packing.pack(tokens[1:]))
    for each in growing.values():
        each.end()
    levels[0].children.append(children)
    levels[0].counts.append(counts)


def _distinct(packing: Packing, block: Words) -> tuple[Words, Array]:
    """Each n-gram of a sorted block once, and how often it stands there; the first may be the last one's of the block before."""
    new = np.ones(len(block[0]), bool)
    np.logical_not(packing.same(block, packing.order), out=new[1:])
    begins = np.flatnonzero(new)
    return [word[begins] for word in block], np.diff(begins, append=len(new))


def _adjust(level: Level, sorter: Sorter) -> None:
    """`counts`: how often each n-gram stands in the sorter, but for those that begin with the border: how often it occurs."""
    until = level.below  # so many stand before those that begin with the border

    def put(counts: Array) -> None:
        nonlocal until
        if len(level.counts) <= until < len(level.counts) + len(counts):
            cut = until - len(level.counts)
            level.counts.append(counts[:cut])
            _borders(level)
            counts, until = counts[cut:], -1
        level.counts.append(counts)

    packing = sorter.packing
    last: Words = []
    held = np.zeros(1, np.int64)  # of the last one, which may go on in the next block
    for block in sorter.blocks():
        words, times = _distinct(packing, block)
        if last and packing.same([np.concatenate([a, b[:1]]) for a, b in zip(last, words)], packing.order)[0]:
            times[0] += held[0]
        elif last:
            put(held)
        put(times[:-1])
        last, held = [word[-1:] for word in words], times[-1:]
    if last:
        put(held)
    if until >= 0:
        _borders(level)
    assert len(level.counts) == len(level), f"{len(level.counts)} counts of {len(level)} n-grams"


def _first(level: Level, seen: Array, order: int) -> None:
    level.tokens.append(np.arange(len(seen)))
    level.raw.append(seen)
    if order == 1:
        level.counts.append(seen)
        level.children.append(np.zeros(len(seen)))


def _borders(level: Level) -> None:
    level.counts.append(level.raw.read(level.below, level.below + level.borders))


# ------------------------------------------------------------------------------------------------ the estimates


def estimate(levels: list[Level], prune: list[int] | None = None, folder: Path | None = None) -> Trie:
    """The model of counted levels. `prune[k - 1]` is the least number of occurrences for an n-gram of length k to be kept,
    not falling with k; the last one holds for the longer ones. The levels' columns are used up."""
    order, vocabulary = len(levels), len(levels[0])
    least = [1] * order if not prune else [prune[min(k, len(prune) - 1)] for k in range(order)]
    total = 1 + sum(map(len, levels))

    def column(name: str, dtype: Any) -> Column:
        return Column(dtype, None if folder is None else folder / name)

    tokens, share = column("tokens", levels[0].tokens.dtype), column("share", np.float32)
    first, gamma = column("first", np.int32 if total < 2**31 else np.int64), column("gamma", np.float32)
    counts = levels[0].counts.read(0, vocabulary).astype(np.int64)
    rest, shares, _ = _shares(levels[0].discounts, np.array([vocabulary]), counts, np.ones(vocabulary, bool))
    tokens.append(np.concatenate([[0], np.arange(vocabulary)]))  # node 0 is every n-gram that was never seen
    share.append(np.concatenate([[0], shares]))
    gamma.append(np.ones(1))
    place = 1 + vocabulary
    first.append(np.array([place]))
    ngrams = [int(np.count_nonzero(counts))]
    for parent, child, own, limit in zip(levels, levels[1:], least, least[1:], strict=False):
        kept = at = 0
        for start, stop in _stretches(parent):
            extend = parent.children.read(start, stop).astype(np.int64)
            end = at + int(extend.sum())
            keep = child.raw.read(at, end) >= limit
            weights, shares_, more = _shares(child.discounts, extend, child.counts.read(at, end).astype(np.int64), keep)
            stay = parent.raw.read(start, stop) >= own if own > 1 else slice(None)
            begin = np.cumsum(more[stay])
            first.append(place + kept + begin - more[stay])
            gamma.append(weights[stay])
            tokens.append(child.tokens.read(at, end)[keep])
            share.append(shares_[keep])
            kept += int(keep.sum())
            at = end
        place += kept
        ngrams.append(kept)
    first.append(np.array([place]))
    for level in levels:
        for column_ in (level.tokens, level.raw, level.counts, level.children):
            column_.remove()
    return Trie(tokens.whole(), first.whole(), gamma.whole(), share.whole(),
                (shares + rest[0] / vocabulary).astype(np.float32), order, ngrams,
                [list(level.discounts) for level in levels])  # fmt: skip


def _stretches(parent: Level) -> Iterator[tuple[int, int]]:
    """Ranges of a level's nodes that have about CHILDREN children together."""
    for start in range(0, len(parent), BLOCK):
        behind = np.cumsum(parent.children.read(start, start + BLOCK), dtype=np.int64)
        at = 0
        while at < len(behind):
            reach = CHILDREN + (int(behind[at - 1]) if at else 0)
            end = max(int(np.searchsorted(behind, reach, "right")), at + 1)
            yield start + at, start + end
            at = end


def _shares(discounts: tuple[float, float, float], extend: Array, counts: Array, keep: Array) -> tuple[Array, Array, Array]:
    """γ of the parents (P,), their children's shares (M,), float64, and how many of each parent's children are kept (P,).

    `extend` (P,) is how many children each has, `counts` (M,) theirs, `keep` (M,) bool which of them stay. Sums are of
    whole numbers, so that they do not depend on how many parents are looked at together."""
    begins = np.cumsum(extend) - extend
    fertile = np.flatnonzero(extend)

    def sums(values: Array) -> Array:
        out = np.zeros(len(extend), np.int64)
        if len(fertile):
            out[fertile] = np.add.reduceat(values, begins[fertile], dtype=np.int64)
        return out

    total = sums(counts)
    every = bool(keep.all())
    kept = extend if every else sums(keep)
    ones, twos, more = (sums(found & keep) for found in (counts == 1, counts == 2, counts > 2))
    taken = discounts[0] * ones + discounts[1] * twos + discounts[2] * more
    if not every:
        taken = taken + sums(np.where(keep, 0, counts))
    share = (counts - np.array([0.0, *discounts])[np.minimum(counts, 3)]) / np.repeat(total, extend)
    return np.where(total > 0, taken / np.maximum(total, 1), 1.0), share, kept
