"""A convolutional network that labels texts (Kim 2014, arXiv:1408.5882): for each of a few widths a bank of filters slides
over the token embeddings, and of each filter the strongest response in the text is kept.

    c = relu(W · [e_i ; … ; e_{i+h-1}] + b)        e (T, E), W (F, h · E)
    pooled = max over i                            (F · number of widths), then dropout and a linear layer

Zeros follow the text, so that one shorter than a filter still gives each filter one place; whatever padding a batch adds
behind that is masked, so that a text gets the same scores in any company. It sees no order beyond its widths, and trains
many times faster than what reads token by token.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, ModelPart, Output, Slots, StateSpec
from yanmo.nn.dropout import dropout
from yanmo.nn.heads import Reduce
from yanmo.nn.init import embedding, fill


class CnnModel(ModelPart):
    """Convolutions over a text's tokens and the strongest response of each filter: labels texts, fast."""

    headless: ClassVar[bool] = True

    type: str = "cnn"
    embedding: int = Field(128, ge=1, description="the size of a token's vector")
    filters: int = Field(100, ge=1, description="filters of each width")
    widths: tuple[int, ...] = Field((3, 4, 5), min_length=1, description="how many tokens a filter sees")
    dropout: float = Field(0.5, ge=0, lt=1)

    @field_validator("widths")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 1 or any(a >= b for a, b in pairwise(value)):
            raise ValueError(str(text("widths of at least 1 that rise, such as [3, 4, 5]")))
        return value

    def parameters(self, vocabulary: int) -> int:
        """How many numbers the model has."""
        return vocabulary * self.embedding + self.filters * sum(width * self.embedding + 1 for width in self.widths)

    def flops(self, vocabulary: int, context: int) -> float:
        """Floating-point operations to train on one token: 6 per weight of a matrix product."""
        return 6.0 * self.filters * self.embedding * sum(self.widths)

    def build(self, tokenizer: Any, rng: torch.Generator, context: int | None = None) -> Cnn:
        model = Cnn(self, tokenizer.size)
        model.initialise(rng)
        return model


class Cnn(LanguageModel):
    """The module, the backbone of a Classifier; `width` is filters × widths. Empty until `initialise` or loading."""

    kind = "encoder"
    family = "yanmo_cnn"
    context = None
    head = None

    def __init__(self, part: CnnModel, vocabulary: int):
        super().__init__()
        self.part, self.vocabulary = part, vocabulary
        self.width = part.filters * len(part.widths)
        self.embedding = embedding(vocabulary, part.embedding)
        self.banks = nn.ModuleList(
            nn.utils.skip_init(nn.Conv1d, part.embedding, part.filters, width) for width in part.widths
        )  # fmt: skip

    def initialise(self, rng: torch.Generator) -> None:
        """Embeddings of unit variance and filters that keep it (He et al. 2015), so that responses begin of size 1."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                fill(parameter, 1.0 if parameter.ndim == 2 else math.sqrt(2 / parameter[0].numel()), rng)

    def state(self) -> dict[str, StateSpec]:
        return {}

    def forward(
        self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None, reduce: Reduce | None = None
    ) -> Output:
        raise RequestError("cnn", text("a task that labels texts"), text("the next token asked for"),
                           text("train a gru, an lstm or a transformer"))  # fmt: skip

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        """(B, T, width): the filters' responses where each begins; 0 where padding is."""
        assert slots is None, "it remembers nothing"
        x = self.embedding(inputs.tokens) if inputs.embeddings is None else inputs.embeddings
        if inputs.mask is not None:
            x = x * inputs.mask[..., None].to(x.dtype)
        x = x.transpose(1, 2)  # (B, E, T)
        found = [F.relu(bank(F.pad(x, (0, width - 1)))) for bank, width in zip(self.banks, self.part.widths)]
        out = torch.cat(found, 1).transpose(1, 2)
        return out if inputs.mask is None else out * inputs.mask[..., None].to(out.dtype)

    def pool(self, inputs: Inputs) -> Tensor:
        """(B, width): each filter's strongest response (none is below 0, so what is masked never wins)."""
        return dropout(self.encode(inputs).amax(1), self.part.dropout, self.training)
