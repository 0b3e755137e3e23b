"""Rows as what models with a head read: one rectangle, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yanmo.core.data import Row
from yanmo.models.base import Inputs


def inputs_of(rows: Sequence[Row], pad: int) -> Inputs:
    """Tokens (B, T) to the longest row, with a mask that says what is padding (never the ids do), and the types of pairs where
    a row has some."""
    lengths = np.array([len(row.tokens) for row in rows])
    mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])
    tokens = laid([row.tokens for row in rows], pad)
    types = [row.types for row in rows]
    paired = any(some and any(some) for some in types)
    laid_types = laid([some or [0] * len(row.tokens) for some, row in zip(types, rows)], 0) if paired else None
    return Inputs(tokens, types=laid_types, mask=mask)


def laid(rows: Sequence[Sequence[Any]], fill: Any, dtype: Any = np.int64) -> Tensor:
    """(B, longest) of rows of numbers."""
    made = np.full((len(rows), max(map(len, rows))), fill, dtype)
    for index, row in enumerate(rows):
        made[index, : len(row)] = row
    return torch.from_numpy(made)
