"""A model with a layer of its own on its hidden states, for tasks that ask for more than the next token.

Saved, it has its backbone's family and the name that Hugging Face gives such models: the family's, with the head's ending.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import lookup
from yanmo.models.base import Inputs, LanguageModel
from yanmo.nn.init import fill, linear


class Headed(nn.Module):
    """`gives`: the head of the tasks that it does; `ending`: what the architecture's name ends with; `layer`: its own layer's
    name, which is empty until `initialise` or loading fills it. RequestError for a backbone without hidden states."""

    gives: ClassVar[str]
    ending: ClassVar[str]
    layer: ClassVar[str] = "score"

    def __init__(self, backbone: LanguageModel, outputs: int, bias: bool = True):
        super().__init__()
        if backbone.width is None:
            raise RequestError(text("classifier"), text("a model with hidden states"), type(backbone).__name__)
        self.backbone = backbone
        setattr(self, self.layer, linear(backbone.width, outputs, bias=bias))

    @property
    def head(self) -> nn.Linear:
        """The layer of its own."""
        return getattr(self, self.layer)

    def beside(self) -> dict[str, nn.Parameter]:
        """What else it has of its own, by the names that it is saved under."""
        own = ("backbone.", f"{self.layer}.")
        return {name: value for name, value in self.named_parameters() if not name.startswith(own)}

    @property
    def family(self) -> str:
        """Its backbone's, where that has models like this one, else one of our own."""
        own = lookup("family", self.backbone.family)()
        return self.backbone.family if own.headed(self.ending, getattr(self.backbone, "part", None)) else own.instead

    @property
    def context(self) -> int | None:
        return self.backbone.context

    @property
    def width(self) -> int | None:
        return self.backbone.width

    def initialise(self, rng: torch.Generator) -> None:
        """Fills the head alone, so that the first scores are small and all choices begin about equal."""
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        fill(self.head.weight, 0.1 / math.sqrt(self.head.in_features), rng)

    def regions(self) -> list[nn.Module]:
        return self.backbone.regions()

    def states(self, inputs: Inputs) -> Tensor:
        """(B, T, D): what the backbone has of each token, the whole row read; types of a pair go to backbones that know them."""
        if inputs.types is not None and not self.typed:
            inputs = replace(inputs, types=None)
        return self.backbone.states(inputs)

    @property
    def typed(self) -> bool:
        """Whether the backbone tells a pair's texts apart by their types."""
        backbone: Any = self.backbone
        return getattr(backbone, "types", None) is not None or "token_type_ids" in getattr(backbone, "takes", ())
