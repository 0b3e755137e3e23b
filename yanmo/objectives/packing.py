"""Rows of unequal length as one rectangle, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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


def generators(rows: int, rng: torch.Generator) -> list[np.random.Generator]:
    """One for each row, drawn one by one: a row's own does not depend on how a step is divided into micro-batches."""
    return [np.random.Generator(np.random.PCG64(int(torch.randint(0, 2**62, (), generator=rng)))) for _ in range(rows)]
