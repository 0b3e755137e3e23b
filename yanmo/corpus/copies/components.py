"""Neighbours and their connected components, worked on arrays.

Neighbours: records of one band's hash follow each other when they are sorted; each is joined to the first of its run.
Components: every node starts as its own root. In each round the roots of an edge's two ends are hooked onto the smaller
one, then all paths are halved until they point at roots; after O(log n) rounds no edge joins two roots (Shiloach and Vishkin
1982). Nodes are numbered by (content id, order), so the root of a component is the document that stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

NODE = np.dtype([("order", "<i8"), ("high", "<u8"), ("low", "<u8")])  # a document: its place, and its id as two numbers
RECORD = np.dtype([("hash", "<u8"), ("node", NODE)])  # one band of a document
GATHERED = 2 << 20  # bytes of records that are sorted at once; a section is never divided


def neighbours(rows: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """(first section, edges) for (section, its records), small sections together: (edges, 2) nodes, the second with the
    smallest (id, order) of all that have a hash in common."""
    for section, data in gathered(rows):
        records = np.frombuffer(data, RECORD)
        hashes = np.ascontiguousarray(records["hash"])
        order = np.argsort(hashes)
        hashes = hashes[order]
        equal = hashes[1:] == hashes[:-1]
        records = records[order[np.append(equal, False) | np.append(False, equal)]]  # nearly all stand alone
        node = records["node"]
        records = records[np.lexsort((node["order"], node["low"], node["high"], records["hash"]))]
        begins = np.ones(len(records), bool)
        begins[1:] = records["hash"][1:] != records["hash"][:-1]
        first = np.flatnonzero(begins)[np.cumsum(begins) - 1]
        edges = np.stack([records["node"][~begins], records["node"][first[~begins]]], axis=1)
        if len(edges):
            yield section, edges.tobytes()


def gathered(rows: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Rows that follow each other as one, of about GATHERED bytes, with the number of the first."""
    number, held, size = 0, list[bytes](), 0
    for section, data in rows:
        if held and size + len(data) > GATHERED:
            yield number, b"".join(held)
            held, size = [], 0
        if not held:
            number = section
        held.append(data)
        size += len(data)
    if held:
        yield number, b"".join(held)


def components(edges: Iterable[bytes]) -> Iterator[tuple[int, str, bytes]]:
    """(order of the one that stays, its id, the orders of those that do not as 8 bytes each) of each component, by order."""
    ends = np.frombuffer(b"".join(edges), NODE)
    orders, at, inverse = np.unique(ends["order"], return_index=True, return_inverse=True)
    high, low = ends["high"][at], ends["low"][at]
    ranked = np.lexsort((orders, low, high))  # which document is node 0, 1, …
    number = np.empty(len(orders), np.int64)
    number[ranked] = np.arange(len(orders))
    left, right = number[inverse].reshape(-1, 2).T
    root = roots(left, right, len(orders))
    stays = ranked[root[number]]  # for each document, by order
    losers = np.flatnonzero(stays != np.arange(len(orders)))
    losers = losers[np.argsort(stays[losers], kind="stable")]
    winners, starts = np.unique(stays[losers], return_index=True)
    for winner, start, end in zip(winners.tolist(), starts, [*starts[1:], len(losers)]):
        yield int(orders[winner]), f"{high[winner]:016x}{low[winner]:016x}", orders[losers[start:end]].tobytes()


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
