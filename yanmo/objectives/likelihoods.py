"""ln p of answers behind their prompts, by row: what preferences and policies are made of.

Only the answers' positions reach the model's head. With a `temperature` the logits are divided by it, so that the
probabilities are those with which answers were drawn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from yanmo.models.base import Inputs
from yanmo.objectives.surprise import Surprise


def read(inputs: Inputs) -> Inputs:
    """Of whole texts (B, T) what the model reads of them to predict the rest: all but the last token."""
    return replace(inputs, tokens=inputs.tokens[:, :-1], mask=None if inputs.mask is None else inputs.mask[:, 1:])


def answered(inputs: Inputs, begins: Tensor) -> Tensor:
    """(B, T - 1) bool: the positions of `read(inputs)` that predict an answer's token; an answer begins at `begins` (B,)."""
    places = torch.arange(1, inputs.tokens.shape[1], device=begins.device)
    chosen = places >= begins[:, None]
    return chosen if inputs.mask is None else chosen & inputs.mask[:, 1:]


def token_likelihoods(model: Any, inputs: Inputs, begins: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """(ln p of the answers' tokens (N,), the row of each (N,)) of whole texts."""
    chosen = answered(inputs, begins)
    targets = inputs.tokens[:, 1:][chosen]

    def found(logits: Tensor, positions: Tensor) -> Tensor:
        ones = torch.ones(len(positions), device=logits.device)
        return -Surprise.apply(logits.float() / temperature, targets[positions], ones)

    return model(read(inputs), select=chosen, reduce=found).reduced, chosen.nonzero()[:, 0]


def likelihoods(model: Any, inputs: Inputs, begins: Tensor) -> Tensor:
    """(B,) ln p of each row's answer."""
    found, rows = token_likelihoods(model, inputs, begins)
    return found.new_zeros(len(begins)).index_add(0, rows, found)


def imagined(model: Any) -> bool:
    """Whether the model's tensors have shapes and no contents: a step that is only rehearsed (`train/plan/rehearsal.py`)."""
    from torch._subclasses.fake_tensor import FakeTensor

    return any(isinstance(parameter, FakeTensor) for parameter in model.parameters())
