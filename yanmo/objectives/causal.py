"""Next-token prediction: -ln p(token | the tokens before it), summed over the tokens that are trained on.

A row is a stretch of the token stream, T + 1 tokens long: T inputs and, one place on, T targets. Several documents may
meet in a row; with `isolate` a token sees only its own document's tokens, as it will when the model is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from yanmo.core.data import Row
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch, Context, Loss, Objective


class Causal(Objective):
    """Predict the next token of packed rows; documents in one row do not see each other."""

    context: int | None = Field(default=None, gt=1)  # T; None: chosen by the plan
    isolate: bool = True

    _border: int = PrivateAttr(default=1)
    _pad: int = PrivateAttr(default=0)

    def bind(self, context: Context) -> Causal:
        bound = self.model_copy()
        bound._border, bound._pad = context.tokenizer.eos_id, context.tokenizer.pad_id
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows of up to T + 1 tokens; shorter ones are padded on the right, and `trained` says which tokens are targets."""
        longest = max(len(row.tokens) for row in rows)
        tokens = np.full((len(rows), longest), self._pad, dtype=np.int64)
        weights = np.zeros((len(rows), longest - 1), dtype=np.float32)
        for index, row in enumerate(rows):
            tokens[index, : len(row.tokens)] = row.tokens
            weights[index, : len(row.tokens) - 1] = 1.0 if row.trained is None else row.trained[1:]
        inputs = tokens[:, :-1]
        lengths = np.array([len(row.tokens) - 1 for row in rows])
        mask = None
        if lengths.min() < longest - 1:
            mask = torch.from_numpy(np.arange(longest - 1) < lengths[:, None])
        return Batch(
            Inputs(torch.from_numpy(inputs.copy()), documents=self._documents(inputs), mask=mask),
            targets=torch.from_numpy(tokens[:, 1:].copy()),
            weights=torch.from_numpy(weights),
            items=[row.example for row in rows],
        )

    def _documents(self, inputs: np.ndarray) -> Tensor | None:
        """(B, T): the number of each token's document in its row; None where no document begins within a row, so that
        the plain causal mask, which needs half the work, is enough."""
        if not self.isolate or not (inputs[:, 1:] == self._border).any():
            return None
        return torch.from_numpy(np.cumsum(inputs == self._border, axis=1))

    def loss(self, model: Any, batch: Batch) -> Loss:
        assert batch.targets is not None
        assert batch.weights is not None
        targets, weights = batch.targets.reshape(-1), batch.weights.reshape(-1)

        def surprise(logits: Tensor, positions: Tensor) -> Tensor:  # weighed here: what is outside is a plain sum
            return Surprise.apply(logits.float(), targets[positions], weights[positions])

        losses = model(batch.inputs, reduce=surprise).reduced.view(batch.targets.shape)
        each = losses.detach().sum(1) / batch.weights.sum(1).clamp(min=1)
        return Loss(losses.sum(), batch.weights.sum(), each)


class Surprise(torch.autograd.Function):
    """-ln softmax(logits)[target] · weight for logits (n, V), targets and weights (n,), with the gradient written down:
    (softmax - onehot) · weight. Three passes over the logits fewer than through log_softmax and nll_loss."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        logs = logits.log_softmax(-1)
        ctx.save_for_backward(logs, targets, weights)
        return -logs.gather(-1, targets[:, None]).squeeze(-1) * weights

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        logs, targets, weights = ctx.saved_tensors
        scale = (slopes[0] * weights)[:, None]
        gradient = logs.exp()
        gradient.scatter_add_(-1, targets[:, None], gradient.new_full((len(targets), 1), -1.0))
        return gradient.mul_(scale), None, None
