"""A language model with a value beside each token: what the rest of the answer is expected to be worth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, Output
from yanmo.nn.init import linear


class Critic(nn.Module):
    """`backbone` writes, `value` judges; the value begins at 0 everywhere."""

    kind = "causal"

    def __init__(self, backbone: LanguageModel):
        super().__init__()
        if backbone.width is None or backbone.family == "huggingface":
            raise RequestError("model", text("a model of ours, with hidden states beside its logits"), type(backbone).__name__)
        self.backbone = backbone
        self.value = linear(backbone.width, 1, bias=True)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    @property
    def vocabulary(self) -> int:
        return self.backbone.vocabulary

    @property
    def context(self) -> int | None:
        return self.backbone.context

    @property
    def width(self) -> int | None:
        return self.backbone.width

    def regions(self) -> list[nn.Module]:
        return self.backbone.regions()

    def forward(self, inputs: Inputs, **asked: Any) -> Output:
        """The backbone's output."""
        return self.backbone(inputs, **asked)

    def values(self, hidden: Tensor) -> Tensor:
        """(…,) float32 values of hidden states (…, D)."""
        return self.value(hidden).squeeze(-1).float()

    @torch.no_grad()
    def expected(self, inputs: Inputs) -> Tensor:
        """(B, T): what each position is worth."""
        return self.values(self.backbone.encode(inputs))
