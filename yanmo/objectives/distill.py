"""Distillation (Hinton et al. 2015, arXiv:1503.02531): a model learns the probabilities that a larger one gives to every next
token, not only the token that stands there.

    loss    (1 - hard) · τ² · KL(teacher at temperature τ ‖ student at τ) + hard · -ln p(token)

The factor τ² keeps the gradient's size as τ grows (section 2). Both models read the same tokens, so they must have one
vocabulary.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor

from yanmo.core.data import Row
from yanmo.core.messages import text
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch, Context, Loss, Objective
from yanmo.objectives.likelihoods import imagined
from yanmo.objectives.packing import padded, real
from yanmo.objectives.policy import over


class Distill(Objective):
    """Learn what a teacher gives to every next token of the answers.

    `temperature`: τ; `hard`: the share of the plain loss on the answers as they are."""

    kinds: ClassVar[tuple[str, ...]] = ("causal",)

    temperature: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    hard: float = Field(default=0.0, ge=0, lt=1)

    _context: Context | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _effective(self) -> Distill:
        if self.smoothing:
            raise ValueError(str(text("'{names}' left out: it has no effect here", names="smoothing")))
        return self

    def bind(self, context: Context) -> Distill:
        bound = self.model_copy()
        bound._context = context
        return bound

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        """Rows padded on the right; `trained` says which tokens are the answer's."""
        assert self._context is not None
        texts = [row.tokens for row in rows]
        tokens = torch.from_numpy(padded(texts, self._context.tokenizer.pad_id))
        trained = [[float(on) for on in (row.trained or [True] * len(row.tokens))][1:] for row in rows]
        weights = torch.zeros(tokens.shape[0], tokens.shape[1] - 1)
        for index, on in enumerate(trained):
            weights[index, : len(on)] = torch.tensor(on)
        return Batch(Inputs(tokens[:, :-1].contiguous(), mask=real([row.tokens[1:] for row in rows])),
                     targets=tokens[:, 1:].contiguous(), weights=weights, items=[row.example for row in rows])  # fmt: skip

    def loss(self, model: Any, batch: Batch) -> Loss:
        assert self._context is not None
        assert batch.targets is not None
        assert batch.weights is not None
        chosen = batch.weights > 0
        targets, heat = batch.targets[chosen], self.temperature
        with torch.no_grad():
            told = (model if imagined(model) else self._context.models["reference"])(batch.inputs, select=chosen).logits.detach()

        def apart(logits: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logits = logits.float()
            size = min(logits.shape[-1], told.shape[-1])  # tables padded to round sizes
            wanted = (told[positions, :size].float() / heat).log_softmax(-1)
            given = (logits[:, :size] / heat).log_softmax(-1)
            soft = (wanted.exp() * (wanted - given)).sum(-1)
            cost = (1 - self.hard) * heat**2 * soft
            if self.hard:
                cost = cost - self.hard * logits.log_softmax(-1).gather(-1, targets[positions][:, None]).squeeze(-1)
            agree = logits.detach().argmax(-1) == told[positions].argmax(-1)
            return cost, soft.detach(), agree

        costs, soft, agree = model(batch.inputs, select=chosen, reduce=apart).reduced
        sums = costs.new_zeros(len(chosen)).index_add(0, chosen.nonzero()[:, 0], costs)
        each = sums.detach() / batch.weights.sum(1).clamp(min=1)
        return Loss(sums.sum(), batch.weights.sum(), each, {"kl": over(soft), "agreement": over(agree)})
