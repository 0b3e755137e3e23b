"""Which rows each step trains on.

`TokenBatches` cuts a split's token stream into rows and takes them in a shuffled order (`RowOrder`, or `Mixture` where
sources have weights), epoch after epoch; a batch goes on into the next epoch. `LaneBatches` takes the same rows in lanes,
each of which is read from its beginning to its end. `LabelledBatches` takes encoded examples, rows of similar length
together.
All are functions of a cursor (epoch, index): to go on from any point costs no more than to begin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from yanmo.core.data import Row
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.corpus.mixture import Mixture
from yanmo.corpus.tokens import RowOrder, Split, row_count
from yanmo.objectives.base import Batch, Objective

Cursor = tuple[int, int]


class TokenBatches:
    """`rows` rows a step, in micro-batches of `micro` rows.

    Row i is the S tokens from i·S on, S being what the objective makes a row of `context` positions of (`stretch`), and its
    `overlap` of the next row. For `causal` that is [i·T, i·T + T]: each token of the split is a target once an epoch (the
    first one, a border, never). `order` (`Split.order`) may show some rows more often than others.
    """

    def __init__(self, split: Split, objective: Objective, context: int, rows: int, micro: int, seed: int,
                 order: RowOrder | Mixture | None = None):  # fmt: skip
        self.split, self.objective = split, objective
        self.stretch = objective.stretch(context)  # tokens by which rows move on
        self.rows, self.micro = rows, min(micro, rows)
        count = row_count(len(split.tokens), self.stretch, objective.overlap)
        if len(split.tokens) < 2:
            raise DataError("train", text("at least two tokens to train on"), str(len(split.tokens)))
        self.order = order or RowOrder(count, seed)
        self.count = self.order.count  # rows of an epoch

    def take(self, cursor: Cursor, rng: torch.Generator) -> tuple[list[Batch], Cursor]:
        epoch, index = cursor
        wanted: list[int] = []
        while len(wanted) < self.rows:
            if index == self.count:
                epoch, index = epoch + 1, 0
            end = min(self.count, index + self.rows - len(wanted))
            wanted += self.order.rows(epoch, np.arange(index, end)).tolist()
            index = end
        return self.collated(wanted, rng), (epoch, index)

    def collated(self, wanted: list[int], rng: torch.Generator) -> list[Batch]:
        """The rows of these numbers in micro-batches."""
        return [self.objective.collate([self.row(i) for i in wanted[start : start + self.micro]], rng)
                for start in range(0, len(wanted), self.micro)]  # fmt: skip

    def row(self, index: int) -> Row:
        start = index * self.stretch
        stop = start + self.stretch + self.objective.overlap
        return Row(self.split.tokens[start:stop], example=str(index))  # type: ignore[arg-type]

    def describe(self, items: list[Any]) -> str:
        return ", ".join(self.documents(items))

    def documents(self, items: list[Any]) -> list[str]:
        """The ids of the documents in these rows, in the order of the corpus."""
        found: list[str] = []
        firsts = self.split.documents["first"]
        for item in sorted({int(item) for item in items}):
            start = item * self.stretch
            last = min(start + self.stretch + self.objective.overlap, len(self.split.tokens)) - 1
            low = int(np.searchsorted(firsts, start, side="right")) - 1
            high = int(np.searchsorted(firsts, last, side="right"))
            found += [str(name) for name in self.split.documents["id"][max(low, 0) : high]]
        return list(dict.fromkeys(found))


class LaneBatches(TokenBatches):
    """Rows in lanes, for objectives that carry a state from step to step: row i of a step goes on where row i of the step
    before ended. The stream is cut into `rows` lanes of equal length, the last of which goes on at the stream's beginning
    where it is short; an epoch reads each from its beginning to its end. Cursor: (epoch, step within it)."""

    def __init__(self, split: Split, objective: Objective, context: int, rows: int, micro: int):
        count = row_count(len(split.tokens), objective.stretch(context), objective.overlap)
        super().__init__(split, objective, context, min(rows, max(count, 1)), micro, 0)
        self.steps = -(-self.count // self.rows)  # of an epoch

    def take(self, cursor: Cursor, rng: torch.Generator) -> tuple[list[Batch], Cursor]:
        epoch, step = cursor
        if step == self.steps:
            epoch, step = epoch + 1, 0
        wanted = [(lane * self.steps + step) % self.count for lane in range(self.rows)]
        made = self.collated(wanted, rng)
        for batch in made:
            assert batch.fresh is not None, "an objective that carries says which rows begin anew"
            begins = torch.tensor([step == 0 or item == "0" for item in batch.items])
            batch.fresh = batch.fresh | begins
        return made, (epoch, step + 1)


class LabelledBatches:
    """`rows` encoded examples a step, of similar length (shuffled, cut into pools, each pool sorted), so that little of a
    batch is padding; which rows come together and in which order differs from epoch to epoch.

    A micro-batch has at most `micro` rows, and fewer of long ones: `budget` is the most tokens of one, padding included. The
    very first step is the one whose micro-batches are the largest: what does not fit into memory fails there, and not hours
    later."""

    POOL = 32  # batches that are sorted together

    def __init__(self, examples: list[Row], objective: Objective, rows: int, micro: int, seed: int, budget: int | None = None):
        if not examples:
            raise DataError("train", text("at least one example to train on"), text("none"))
        self.examples, self.objective = examples, objective
        self.rows, self.micro, self.seed, self.budget = min(rows, len(examples)), micro, seed, budget
        self.count = -(-len(examples) // self.rows)  # batches an epoch
        self._epoch, self._batches = -1, [[0]]

    def take(self, cursor: Cursor, rng: torch.Generator) -> tuple[list[Batch], Cursor]:
        epoch, index = cursor
        if index == self.count:
            epoch, index = epoch + 1, 0
        batches = [self.objective.collate([self.examples[i] for i in chosen], rng)
                   for chosen in self.micro_batches(self.epoch(epoch)[index])]  # fmt: skip
        return batches, (epoch, index + 1)

    def micro_batches(self, chosen: list[int]) -> list[list[int]]:
        """A step's row numbers, cut where another row would be one too many or make too many tokens."""
        found: list[list[int]] = []
        longest = 0
        for number in chosen:
            length = len(self.examples[number].tokens)
            longest = max(longest, length)
            full = not found or len(found[-1]) == self.micro
            if full or (self.budget is not None and (len(found[-1]) + 1) * longest > self.budget):
                found.append([])
                longest = length
            found[-1].append(number)
        return found

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch, each a list of row numbers."""
        if epoch != self._epoch:
            rng = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            shuffled = rng.permutation(len(self.examples))
            lengths = np.array([len(row.tokens) for row in self.examples])
            pool = self.rows * self.POOL
            ordered = np.concatenate([part[np.argsort(lengths[part], kind="stable")]
                                      for part in np.split(shuffled, range(pool, len(shuffled), pool))])  # fmt: skip
            batches = [ordered[start : start + self.rows].tolist() for start in range(0, len(ordered), self.rows)]
            made = [batches[i] for i in rng.permutation(len(batches))]
            if epoch == 0:
                largest = max(range(len(made)), key=lambda i: (self.padded(made[i]), -i))
                made[0], made[largest] = made[largest], made[0]
            self._epoch, self._batches = epoch, made
        return self._batches

    def padded(self, chosen: list[int]) -> int:
        """The tokens of a step's largest micro-batch, padding included."""
        return max(len(part) * max(len(self.examples[i].tokens) for i in part) for part in self.micro_batches(chosen))

    def describe(self, items: list[Any]) -> str:
        return ", ".join(str(item) for item in items)
