"""Prefix language modelling (Raffel et al. 2020, section 3.2; Dong et al. 2019): a prefix is read both ways, what follows
is predicted from left to right. One decoder then reads a prompt as an encoder would.

A row is as for `causal`; each time it is seen its prefix ends somewhere else, and only what is behind it is trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator

from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.transformer import Transformer
from yanmo.objectives.base import Batch, Loss
from yanmo.objectives.causal import Causal
from yanmo.objectives.packing import generators
from yanmo.objectives.surprise import selected


class Prefix(Causal):
    """Read a prefix both ways and predict what follows it.

    `shortest` and `longest`: the prefix's share of the row's positions, drawn evenly between them."""

    shortest: float = Field(default=0.0, ge=0, lt=1)
    longest: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Prefix:
        if self.shortest > self.longest:
            raise ValueError(str(text("a 'shortest' prefix that is not above the 'longest'")))
        if self.carry:
            raise ValueError(str(text("'carry' left out: a prefix that is read both ways has no state to go on from")))
        return self

    def check(self, model: Any) -> None:
        """Also for one that reads token by token, whatever it is told of a prefix."""
        super().check(model)
        if not isinstance(model, Transformer):
            raise RequestError(f"objective '{self.type}'", text("a model of the kind {kinds}", kinds="transformer"),
                               type(model).__name__)  # fmt: skip

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        batch = super().collate(rows, rng)
        assert batch.weights is not None
        prefixes = []
        for row, weights, own in zip(rows, batch.weights.numpy(), generators(len(rows), rng)):
            length = len(row.tokens) - 1
            wanted = round(length * (self.shortest + (self.longest - self.shortest) * own.random()))
            last = int(np.flatnonzero(weights).max(initial=0)) + 1  # so that something is left to predict
            prefix = max(1, min(wanted, last))
            weights[: prefix - 1] = 0  # the prefix's last position sees all of it, and predicts what follows
            prefixes.append(prefix)
        batch.inputs.prefix = torch.tensor(prefixes)
        return batch

    def loss(self, model: Any, batch: Batch) -> Loss:
        return selected(model, batch, self.smoothing)[0]
