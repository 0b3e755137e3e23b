"""Rows of unequal length as one rectangle, padded on the right; of an encoder-decoder, what it reads and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yanmo.core.data import Row
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch


def padded(rows: Sequence[Any], fill: int, dtype: Any = np.int64) -> NDArray[Any]:
    """(B, longest) of rows of numbers."""
    made = np.full((len(rows), max(map(len, rows))), fill, dtype)
    for index, row in enumerate(rows):
        made[index, : len(row)] = row
    return made


def real(rows: Sequence[Any]) -> Tensor | None:
    """(B, longest) bool: where there is a token; None where all rows are equally long."""
    lengths = np.array([len(row) for row in rows])
    if lengths.min() == lengths.max():
        return None
    return torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])


def documents(tokens: NDArray[Any], border: int) -> Tensor | None:
    """(B, T): the number of each token's document in its row; None where no document begins within a row."""
    begins = tokens == border
    if not begins[:, 1:].any():
        return None
    return torch.from_numpy(np.cumsum(begins, axis=1))


def read_and_written(rows: Sequence[Row], sources: Sequence[Any], targets: Sequence[Any], start: int, pad: int) -> Batch:
    """The encoder reads `sources`, the decoder begins with `start` and writes `targets`, all of which counts."""
    begun = [np.concatenate([[start], target[:-1]]) for target in targets]
    read = Inputs(torch.from_numpy(padded(sources, pad)), mask=real(sources))
    return Batch(
        Inputs(torch.from_numpy(padded(begun, pad)), mask=real(targets), source=read),
        targets=torch.from_numpy(padded(targets, pad)),
        weights=torch.from_numpy(padded([np.ones(len(target)) for target in targets], 0, np.float32)),
        items=[row.example for row in rows],
    )


def generators(rows: int, rng: torch.Generator) -> list[np.random.Generator]:
    """One for each row, drawn one by one: a row's own does not depend on how a step is divided into micro-batches."""
    return [np.random.Generator(np.random.PCG64(int(torch.randint(0, 2**62, (), generator=rng)))) for _ in range(rows)]
