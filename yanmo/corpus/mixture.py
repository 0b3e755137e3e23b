"""Several sources in one order: which row of which source comes at a place, computed, not stored.

    shares(sizes, …)                 what part of an epoch each source makes up: by temperature, by weights, within a limit
    Mixture(counts, quotas, seed)    at(epoch, index) → (source, row)

An epoch has a quota of rows for each source, above the source's count or below it. Where a source's rows lie in the epoch
is a matter of whole numbers: the sources are halved, again and again, and at each halving the left side gets its share of
the places by the line that Bresenham drew, so that after any number of places each source is within a few rows of its
share, and at the end of the epoch exactly at it. A source's draws are numbered through all epochs; draw j is its row
number j mod count in the (j div count)-th permutation of its rows (`order.py`). So every row is seen equally often, once
more or less, at any time; and an epoch and an index are all there is to remember, for any number of processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from yanmo.core.config import Settings
from yanmo.core.errors import RequestError, nearest
from yanmo.core.messages import text
from yanmo.corpus.order import MASK, RowOrder

Numbers = NDArray[np.int64]
LARGEST = 1 << 31  # rows of an epoch: products of two such numbers fit into 64 bits


class Mixing(Settings):
    """How sources are mixed. `temperature` T: a source of size n gets a part in proportion to n^(1/T), so that 1 is as they
    are and a high one treats all alike; or `weights`: the parts themselves, by name. No row comes more than `max_repeats`
    times in an epoch; what that takes from a small source goes to the others."""

    temperature: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    weights: dict[str, float] | None = None
    max_repeats: float = Field(default=4.0, ge=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.temperature is not None and self.weights is not None:
            raise ValueError(str(text("either a temperature or weights")))
        if self.weights is not None and not all(0 <= weight < float("inf") for weight in self.weights.values()):
            raise ValueError(str(text("weights of at least 0")))
        if self.weights is not None and not any(self.weights.values()):
            raise ValueError(str(text("a weight above 0")))
        return self

    def quotas(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """How many rows of each source an epoch has, for their counts. An epoch is as long as all of them together, or shorter
        where `max_repeats` leaves no more to show."""
        if self.weights is not None:
            for name in self.weights:
                if name not in sizes:
                    raise RequestError("mixture.weights", None, text("no source '{name}'", name=name), nearest(name, sizes))
            parts = {name: self.weights.get(name, 0.0) for name in sizes}
        else:
            parts = {name: float(size) ** (1 / (self.temperature or 1.0)) if size else 0.0 for name, size in sizes.items()}
        return quotas(sizes, parts, self.max_repeats)


def quotas(sizes: Mapping[str, int], parts: Mapping[str, float], max_repeats: float) -> dict[str, int]:
    """Rows of an epoch of at most Σ sizes rows, in proportion to `parts`, none above `max_repeats` times its size."""
    total = sum(sizes.values())
    limits = {name: max_repeats * size for name, size in sizes.items()}
    names = sorted(sizes)  # sums of floats depend on their order
    amounts, left = dict.fromkeys(names, 0.0), float(total)
    open_ = [name for name in names if parts[name] > 0 and sizes[name]]
    while open_ and left > 0:
        weight = sum(parts[name] for name in open_)
        full = [name for name in open_ if left * parts[name] / weight >= limits[name]]
        if not full:
            amounts |= {name: left * parts[name] / weight for name in open_}
            break
        for name in full:
            amounts[name] = limits[name]
        left -= sum(limits[name] for name in full)
        open_ = [name for name in open_ if name not in full]
    whole = {name: int(amount) for name, amount in amounts.items()}
    missing = max(round(sum(amounts.values())) - sum(whole.values()), 0)
    broken = sorted((name for name in names if amounts[name] > whole[name]), key=lambda name: whole[name] - amounts[name])
    for name in broken[:missing]:
        whole[name] += 1
    return {name: whole[name] for name in sizes}


@dataclass(frozen=True)
class Mixture:
    """`counts`: the rows of each source; `quotas`: how many of them an epoch shows. A source without rows has no quota."""

    counts: tuple[int, ...]
    quotas: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        assert len(self.counts) == len(self.quotas), "a quota for each source"
        assert all(count > 0 or quota == 0 for count, quota in zip(self.counts, self.quotas)), "a quota of nothing"
        assert self.count < LARGEST, f"at most {LARGEST} rows in an epoch"

    @property
    def count(self) -> int:
        """The rows of an epoch."""
        return sum(self.quotas)

    @cached_property
    def offsets(self) -> Numbers:
        """Where the rows of each source begin, where all are counted through."""
        return np.cumsum([0, *self.counts[:-1]])

    @cached_property
    def orders(self) -> tuple[RowOrder, ...]:
        numbers = range(1, len(self.counts) + 1)
        seeds = [(self.seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9) & MASK for number in numbers]
        return tuple(RowOrder(count, seed) for count, seed in zip(self.counts, seeds))

    def at(self, epoch: int, index: int) -> tuple[int, int]:
        """(source, row of the source) at place `index` of `epoch`."""
        sources, rows = self.places(epoch, np.array([index]))
        return int(sources[0]), int(rows[0])

    def rows(self, epoch: int, indices: NDArray[np.integer]) -> Numbers:
        """`at` for each of `indices`, as rows counted through all sources."""
        sources, rows = self.places(epoch, indices)
        return self.offsets[sources] + rows

    def places(self, epoch: int, indices: NDArray[np.integer]) -> tuple[Numbers, Numbers]:
        """`at` for each of `indices` (any shape): sources and rows of them."""
        index = np.asarray(indices, np.int64)
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < self.count:
            raise IndexError(f"index {int(index.min())} … {int(index.max())} of {self.count} rows")
        sources, draws = self._interleaved(index.reshape(-1))
        rows = np.empty_like(draws)
        for source in np.unique(sources).tolist():
            chosen = sources == source
            number = epoch * self.quotas[source] + draws[chosen]
            passed, place = np.divmod(number, self.counts[source])
            found = np.empty_like(place)
            for turn in np.unique(passed).tolist():
                found[passed == turn] = self.orders[source].rows(turn, place[passed == turn])
            rows[chosen] = found
        return sources.reshape(index.shape), rows.reshape(index.shape)

    def _interleaved(self, index: Numbers) -> tuple[Numbers, Numbers]:
        """(source, how many of its rows come before in the epoch) for each place."""
        sources, draws = np.zeros_like(index), index.copy()
        todo = [(0, len(self.quotas), np.arange(index.size))]
        while todo:
            first, last, chosen = todo.pop()
            if last - first == 1 or chosen.size == 0:
                sources[chosen] = first
                continue
            middle = (first + last) // 2
            left, total = sum(self.quotas[first:middle]), sum(self.quotas[first:last])
            place = draws[chosen]
            before, behind = (place * left + total // 2) // total, ((place + 1) * left + total // 2) // total
            taken = behind > before
            draws[chosen] = np.where(taken, before, place - before)
            todo += [(first, middle, chosen[taken]), (middle, last, chosen[~taken])]
        return sources, draws
