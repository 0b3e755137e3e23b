"""Which prompts each step answers: shuffled, epoch after epoch, the same ones for `repeats` steps in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from yanmo.core.data import Row
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.corpus.order import RowOrder
from yanmo.objectives.base import Batch
from yanmo.objectives.rollouts import Rolling
from yanmo.train.randomness import generator


class PromptBatches:
    """`count` prompts a step, in one micro-batch: it is their answers that are divided. Cursor: (0, steps taken). `seed`: of the
    training's steps, by which a step of its own is told from a trial's."""

    def __init__(self, rows: list[Row], objective: Rolling, order: int, seed: int):
        if not rows:
            raise DataError("train", text("at least one example to train on"), text("none"))
        self.rows, self.objective, self.seed = rows, objective, seed
        self.count = objective.prompts
        self.order = RowOrder(len(rows), order)

    def take(self, cursor: tuple[int, int], rng: torch.Generator) -> tuple[list[Batch], tuple[int, int]]:
        _, step = cursor
        first = step // self.objective.repeats * self.count
        wanted = [self.number(place) for place in range(first, first + self.count)]
        own = rng.initial_seed() == generator(self.seed, step).initial_seed()
        batch = self.objective.collate([self.rows[index] for index in wanted], rng)
        batch.step = step if own else None
        return [batch], (0, step + 1)

    def number(self, place: int) -> int:
        """The row at a place of all epochs, one behind the other."""
        epoch, index = divmod(place, len(self.rows))
        return int(self.order.rows(epoch, np.array([index]))[0])

    def describe(self, items: list[Any]) -> str:
        return ", ".join(dict.fromkeys(str(item) for item in items))
