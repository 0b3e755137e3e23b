"""A model with a linear head that labels a text by the hidden state of its last token, which has read all of it, or by
what the model itself offers for the whole (`pool`: networks that read both ways, convolutions). Saved, it is what
Hugging Face calls a model "for sequence classification"."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import lookup
from yanmo.models.base import Inputs, LanguageModel
from yanmo.nn.init import fill, linear


class Classifier(nn.Module):
    """`labels` is how many there are. The head is empty until `initialise` or loading fills it."""

    def __init__(self, backbone: LanguageModel, labels: int):
        super().__init__()
        if backbone.width is None:
            raise RequestError(text("classifier"), text("a model with hidden states"), type(backbone).__name__)
        self.backbone = backbone
        self.score = linear(backbone.width, labels, bias=backbone.kind != "causal")

    @property
    def family(self) -> str:
        """Its backbone's, where that has classifiers like this one, else our own."""
        own = self.backbone.family
        return own if lookup("family", own)().labelled(getattr(self.backbone, "part", None)) else "yanmo_transformer"

    @property
    def context(self) -> int | None:
        return self.backbone.context

    @property
    def width(self) -> int | None:
        return self.backbone.width

    def initialise(self, rng: torch.Generator) -> None:
        """Fills the head alone, so that the first scores are small and all labels begin about equal."""
        if self.score.bias is not None:
            nn.init.zeros_(self.score.bias)
        fill(self.score.weight, 0.1 / math.sqrt(self.score.in_features), rng)

    def regions(self) -> list[nn.Module]:
        return self.backbone.regions()

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, labels) float32 scores before the softmax. Padding on the right changes nothing."""
        return self.score(self.pool(inputs)).float()

    def pool(self, inputs: Inputs) -> Tensor:
        """(B, D): what the backbone has for each row."""
        return self.backbone.pool(inputs)
