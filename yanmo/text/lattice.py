"""Learning a Unigram vocabulary (Kudo 2018, "Subword Regularization"): pieces with probabilities, by expectation and pruning.

Of all substrings that come more than once the most promising are the seed. Then, in turns: expectation, how often each
piece is used over all ways to cut every word, weighed by their probability; maximisation, a piece's share of all uses as its
probability; and pruning of those pieces whose loss would cost the text's likelihood least. All words' lattices are held in
flat arrays (an edge for each place where a piece may stand) and swept together, one offset at a time.

Our own in numpy, where the trainer of `tokenizers` gives another vocabulary each time, as it sums in the order of a hash
table seeded at random. Here every sum has one order, and ties go by the piece: the same text gives the same vocabulary.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LONGEST = 16  # characters of a piece
SEEDS = 10  # pieces to begin with, for each that is asked for
KEEP = 0.7  # of the pieces that may go, so many stay at each pruning
ROUNDS = 2  # of expectation and maximisation between prunings
FAINT = 1e-3  # uses that a piece has at least, so that its logarithm is finite

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


class Words(NamedTuple):
    """All words one behind the other. `codes`: characters as numbers; `ends`: of each place, where its word ends; `word`: of
    each place, its word's number; `times` (W,): how often each word came."""

    codes: Integers
    ends: Integers
    word: Integers
    times: Reals


class Edges(NamedTuple):
    """Where a piece may stand: from `start` on, `length` characters, piece number `piece`. Each (E,)."""

    start: Integers
    length: Integers
    piece: Integers


class Sweep(NamedTuple):
    """Edges in the order of an offset in their words, cut into batches whose ends (or starts) are all at one offset."""

    order: Integers
    batches: list[tuple[int, int, Integers, Integers]]  # first and behind the last edge, where each node's run begins, the nodes


def learn(words: Counter[str], alphabet: list[str], size: int) -> tuple[dict[str, float], int]:
    """`size` pieces (fewer where the words give no more) → log probabilities, the alphabet's characters among them, and how
    many the words could give at most. Words consist of the alphabet's characters."""
    characters = sorted(alphabet)
    if not characters:
        return {}, 0
    number = {character: index for index, character in enumerate(characters)}
    listed = sorted(words)
    laid = _lay(listed, [words[word] for word in listed], number)
    edges, names, uses = _seed(laid, characters, max(size, len(characters)) * SEEDS)
    most = len(names)
    target = max(size, len(characters))
    single = np.array([len(name) == 1 for name in names])
    score = np.log(uses / uses.sum())
    while True:
        for _ in range(ROUNDS):
            uses = np.maximum(_expect(laid, edges, score), FAINT)
            score = np.log(uses / uses.sum())
        if len(names) <= target:
            break
        stay = max(target, int(KEEP * len(names)))
        loss = np.round(uses * (score - _second(laid, edges, score, len(names))), 6)
        loss[single] = np.inf
        ranked = sorted(range(len(names)), key=lambda piece: (-loss[piece], -len(names[piece]), names[piece]))
        kept = np.zeros(len(names), dtype=bool)
        kept[ranked[:stay]] = True
        moved = np.cumsum(kept) - 1
        standing = kept[edges.piece]
        edges = Edges(edges.start[standing], edges.length[standing], moved[edges.piece[standing]])
        names = [name for name, stays in zip(names, kept) if stays]
        single, uses = single[kept], uses[kept]
        score = np.log(uses / uses.sum())
    return {name: round(float(value), 6) for name, value in zip(names, score)}, most


def _lay(words: list[str], times: list[int], number: dict[str, int]) -> Words:
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    ends = np.cumsum(lengths)
    codes = np.array([number[character] for word in words for character in word], dtype=np.int64)
    return Words(codes, np.repeat(ends, lengths), np.repeat(np.arange(len(words)), lengths), np.array(times, dtype=np.float64))


def _seed(words: Words, characters: list[str], most: int) -> tuple[Edges, list[str], Reals]:
    """All characters, and of the substrings that come twice the `most` of the greatest count times length."""
    count = len(words.codes)
    place_times = words.times[words.word]
    ids = words.codes.copy()  # of each place, the number of the substring of the present length that begins there; -1: rare
    uses = [np.bincount(ids, place_times, minlength=len(characters))]
    first = [np.zeros(len(characters), dtype=np.int64)]
    lengths = [np.ones(len(characters), dtype=np.int64)]
    starts, pieces, spans = [np.arange(count)], [ids.copy()], [np.ones(count, dtype=np.int64)]
    known = len(characters)
    for length in range(2, LONGEST + 1):
        places = np.flatnonzero((ids[:-1] >= 0) & (ids[1:] >= 0))
        places = places[places + length <= words.ends[places]]
        if not len(places):
            break
        key = ids[places] * len(characters) + words.codes[places + length - 1]
        _, at, inverse = np.unique(key, return_index=True, return_inverse=True)
        times = np.bincount(inverse, place_times[places])
        frequent = times >= 2
        renumbered = np.where(frequent, np.cumsum(frequent) - 1, -1)
        ids = np.full(count, -1, dtype=np.int64)
        ids[places] = renumbered[inverse]
        found = places[ids[places] >= 0]
        if not len(found):
            break
        uses.append(times[frequent])
        first.append(places[at][frequent])
        lengths.append(np.full(int(frequent.sum()), length))
        starts.append(found)
        pieces.append(ids[found] + known)
        spans.append(np.full(len(found), length))
        known += int(frequent.sum())
    use, begin, long = np.concatenate(uses), np.concatenate(first), np.concatenate(lengths)
    worth = use * long
    worth[: len(characters)] = np.inf
    chosen = np.sort(np.lexsort((np.arange(known), -worth))[:most])
    moved = np.full(known, -1, dtype=np.int64)
    moved[chosen] = np.arange(len(chosen))
    piece = moved[np.concatenate(pieces)]
    standing = piece >= 0
    edges = Edges(np.concatenate(starts)[standing], np.concatenate(spans)[standing], piece[standing])
    names = [characters[p] if p < len(characters) else
             "".join(characters[code] for code in words.codes[begin[p] : begin[p] + long[p]]) for p in chosen]  # fmt: skip
    return edges, names, np.maximum(use[chosen], FAINT)


def _expect(words: Words, edges: Edges, score: Reals) -> Reals:
    """How often each piece is used (P,), over all ways to cut the words. Nodes lie between characters: of the place p in word w
    the node p + w is before it, so that each word has one more node than places."""
    head = edges.start + words.word[edges.start]
    tail = head + edges.length
    begins = np.flatnonzero(np.diff(words.word, prepend=-1))
    offset = edges.start - begins[words.word[edges.start]]
    nodes = len(words.codes) + len(words.times)
    last = np.append(begins[1:], len(words.codes)) + np.arange(len(begins))
    value = score[edges.piece]
    forward = _accumulate(_sweep(offset + edges.length, tail), head, value, nodes, begins + np.arange(len(begins)))
    backward = _accumulate(_sweep(-offset, head), tail, value, nodes, last)
    whole = forward[last]
    weight = np.exp(forward[head] + value + backward[tail] - whole[words.word[edges.start]])
    uses: Reals = np.bincount(edges.piece, weight * words.times[words.word[edges.start]], minlength=len(score)).astype(np.float64)
    return uses


def _sweep(step: Integers, node: Integers) -> Sweep:
    order = np.lexsort((node, step))
    steps, nodes = step[order], node[order]
    cuts = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1))
    batches = []
    for low, high in zip(cuts, np.append(cuts[1:], len(steps))):
        here = nodes[low:high]
        runs = np.flatnonzero(np.diff(here, prepend=-1))
        batches.append((int(low), int(high), runs, here[runs]))
    return Sweep(order, batches)


def _accumulate(sweep: Sweep, source: Integers, value: Reals, nodes: int, origin: Integers) -> Reals:
    """The logarithm of the summed probability of all ways from a word's `origin` to each node."""
    total = np.full(nodes, -np.inf)
    total[origin] = 0.0
    sources, values = source[sweep.order], value[sweep.order]
    for low, high, runs, targets in sweep.batches:
        way = total[sources[low:high]] + values[low:high]
        best = np.maximum.reduceat(way, runs)
        spread = np.diff(np.append(runs, high - low))
        total[targets] = best + np.log(np.add.reduceat(np.exp(way - np.repeat(best, spread)), runs))
    return total


def _second(words: Words, edges: Edges, score: Reals, pieces: int) -> Reals:
    """The log probability of the best way (P,) to write each piece with others: of a single character that of itself."""
    order = np.lexsort((edges.length, edges.start))
    start, length, piece = edges.start[order], edges.length[order], edges.piece[order]
    where = np.full(pieces, -1, dtype=np.int64)
    where[piece[::-1]] = np.arange(len(piece))[::-1]  # the first place where each stands
    size = np.where(where >= 0, length[where], 1)
    at = np.where(where >= 0, start[where], 0)
    below = np.searchsorted(start, np.arange(len(words.codes) + 1))  # of each place, its first edge
    owner = np.repeat(np.arange(pieces), size)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
    place = at[owner] + offset
    each = below[place + 1] - below[place]
    inner = np.repeat(np.arange(len(owner)), each)
    edge = np.arange(len(inner)) - np.repeat(np.cumsum(each) - each, each) + below[place[inner]]
    room = size[owner[inner]]
    fits = (offset[inner] + length[edge] <= room) & ((length[edge] < room) | (room == 1))
    inner, edge = inner[fits], edge[fits]
    node = np.cumsum(size + 1) - (size + 1)  # of each piece, its first node
    head = node[owner[inner]] + offset[inner]
    tail = head + length[edge]
    value = score[piece[edge]]
    best = np.full(int((size + 1).sum()), -np.inf)
    best[node] = 0.0
    sweep = _sweep(offset[inner] + length[edge], tail)
    heads, values = head[sweep.order], value[sweep.order]
    for low, high, runs, targets in sweep.batches:
        best[targets] = np.maximum.reduceat(best[heads[low:high]] + values[low:high], runs)
    return best[node + size]
