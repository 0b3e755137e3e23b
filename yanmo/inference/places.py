"""What a model with a head says about the places of a text: its scores for rows, and the pieces of the text they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yanmo.core.data import Place, Row
from yanmo.inference.likelihood import device_of
from yanmo.models.inputs import inputs_of

TOKENS = 8192  # in one pass, padding included
Piece = tuple[int, int, NDArray[Any]]  # characters [start, end), and the probability of each tag


@torch.inference_mode()
def scores(model: torch.nn.Module, rows: Sequence[Row], pad: int, each: bool = True) -> list[NDArray[Any]]:
    """What the model gives for each row, float32: (T, …) without padding, or, unless for `each` token, for the row as a whole.
    Rows of like length go together."""
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].tokens), i))
    found: list[Any] = [None] * len(rows)
    while order:
        size = max(1, TOKENS // len(rows[order[0]].tokens))
        chosen, order = order[:size], order[size:]
        inputs = inputs_of([rows[i] for i in chosen], pad)
        device = device_of(model)
        inputs.tokens, inputs.mask = inputs.tokens.to(device), None if inputs.mask is None else inputs.mask.to(device)
        inputs.types = None if inputs.types is None else inputs.types.to(device)
        for index, row in zip(chosen, model(inputs).float().cpu().numpy()):
            found[index] = row[: len(rows[index].tokens)] if each else row
    return found


def probabilities(given: NDArray[Any]) -> NDArray[Any]:
    """Softmax over the last axis, in float64."""
    values = np.asarray(given, np.float64)
    with np.errstate(invalid="ignore"):  # of what is no number, no probability is one
        raised = np.exp(values - values.max(-1, keepdims=True))
        return raised / raised.sum(-1, keepdims=True)


def pieces(places: Sequence[Sequence[Place | None]], counted: Sequence[Sequence[bool]],
           shares: Sequence[NDArray[Any]]) -> list[Piece]:  # fmt: skip
    """The tokens that count, of all rows of one text, in the order of the text: where they stand and their probabilities."""
    return [(place[0], place[1], share) for some, own, each in zip(places, counted, shares)
            for place, mine, share in zip(some, own, each) if mine and place is not None]  # fmt: skip
