"""Next-token prediction: -ln p(token | the tokens before it), summed over the tokens that are trained on.

A row is a stretch of the token stream, T + 1 tokens long: T inputs and, one place on, T targets. Several documents may
meet in a row; with `isolate` a token sees only its own document's tokens, as it will when the model is used.

With `carry` (truncated back-propagation through time, Williams and Peng 1990) the rows of a step continue those of the
step before it in the stream (`train/batches.py`), and a recurrent model begins each with what it remembers of the one
before: it reads far beyond a row, while gradients end where the row begins. With `isolate`, a row that begins with a
document's border begins anew.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, PrivateAttr

from yanmo.core.data import Row
from yanmo.models.base import Inputs
from yanmo.models.carried import Carried
from yanmo.objectives.base import Batch, Context, Loss, Objective
from yanmo.objectives.packing import documents, padded, real
from yanmo.objectives.surprise import surprise


class Causal(Objective):
    """Predict the next token of packed rows; documents in one row do not see each other.

    `carry`: a recurrent model's state goes on from row to row."""

    kinds: ClassVar[tuple[str, ...]] = ("causal",)
    overlap: ClassVar[int] = 1

    context: int | None = Field(default=None, gt=1)  # T; None: chosen by the plan
    isolate: bool = True
    carry: bool = False

    _border: int = PrivateAttr(default=1)
    _pad: int = PrivateAttr(default=0)

    def bind(self, context: Context) -> Causal:
        bound = self.model_copy()
        bound._border, bound._pad = context.tokenizer.eos_id, context.tokenizer.pad_id
        return bound

    @property
    def carries(self) -> bool:
        return self.carry

    def check(self, model: Any) -> None:
        super().check(model)
        if self.carry:
            Carried(model.state(), 1)

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows of up to T + 1 tokens; shorter ones are padded on the right, and `trained` says which tokens are targets."""
        tokens = padded([row.tokens for row in rows], self._pad)
        weights = np.zeros((len(rows), tokens.shape[1] - 1), dtype=np.float32)
        for index, row in enumerate(rows):
            weights[index, : len(row.tokens) - 1] = 1.0 if row.trained is None else row.trained[1:]
        inputs = tokens[:, :-1].copy()
        fresh = torch.from_numpy((inputs[:, 0] == self._border) & self.isolate) if self.carry else None
        return Batch(
            Inputs(torch.from_numpy(inputs), documents=documents(inputs, self._border) if self.isolate else None,
                   mask=real([row.tokens[1:] for row in rows])),
            targets=torch.from_numpy(tokens[:, 1:].copy()), weights=torch.from_numpy(weights),
            items=[row.example for row in rows], fresh=fresh,
        )  # fmt: skip

    def loss(self, model: Any, batch: Batch) -> Loss:
        if not self.carry:
            return surprise(model, batch, smoothing=self.smoothing)
        state = Carried(model.state(), len(batch.inputs.tokens), batch.inputs.tokens.device)
        if batch.carried is not None:
            state.tensors = dict(batch.carried)
            state.reset(batch.fresh)
        loss = surprise(model, batch, state, self.smoothing)
        loss.carried = state.tensors
        return loss
