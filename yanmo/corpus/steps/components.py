"""The connected components of documents that share a band: a union-find worked on arrays.

Every node starts as its own root. In each round the roots of an edge's two ends are hooked onto the smaller one, then
all paths are halved until they point at roots; after O(log n) rounds no edge joins two roots (Shiloach and Vishkin 1982).
Nodes are numbered by (content id, order), so the root of a component is the document that stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Edge = tuple[int, str, int, str]  # order, id, order, id
NODE = np.dtype([("id", "S32"), ("order", "<i8")])
BATCH = 1 << 16


def components(edges: Iterator[Edge]) -> Iterator[tuple[int, int, str]]:
    """(order, order of the one that stays, its id) of each document that does not stay, by order."""
    ends = _ends(edges)
    if ends.size == 0:
        return
    nodes, index = np.unique(ends.reshape(-1), return_inverse=True)
    left, right = index.reshape(-1, 2).T
    root = roots(left, right, len(nodes))
    losers = np.flatnonzero(root != np.arange(len(nodes)))
    losers = losers[np.argsort(nodes["order"][losers])]
    for loser, winner in zip(losers.tolist(), root[losers].tolist()):
        yield int(nodes["order"][loser]), int(nodes["order"][winner]), nodes["id"][winner].decode("ascii")


def roots(left: NDArray[np.int64], right: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(count,) the smallest node of each node's component, for the edges left[i] – right[i]."""
    root = np.arange(count)
    while True:
        a, b = root[left], root[right]
        open_ = a != b
        if not open_.any():
            return root
        left, right, a, b = left[open_], right[open_], a[open_], b[open_]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while True:
            higher = root[root]
            if (higher == root).all():
                break
            root = higher


def _ends(edges: Iterator[Edge]) -> NDArray[np.void]:
    """(edges, 2) nodes."""
    chunks = []
    while batch := list(islice(edges, BATCH)):
        chunks.append(np.array([[(a, i), (b, j)] for i, a, j, b in batch], NODE))
    return np.concatenate(chunks) if chunks else np.zeros((0, 2), NODE)
