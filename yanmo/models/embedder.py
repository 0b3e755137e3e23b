"""A text as one vector: the mean of its tokens' last hidden states (Reimers & Gurevych 2019, arXiv:1908.10084)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from yanmo.models.base import Inputs, LanguageModel
from yanmo.nn import pooling


class Embedder(nn.Module):
    """A language model that gives vectors; it has no parameters of its own, and is saved as the model itself."""

    def __init__(self, backbone: LanguageModel):
        super().__init__()
        self.backbone = backbone

    @property
    def context(self) -> int | None:
        return self.backbone.context

    @property
    def width(self) -> int | None:
        return self.backbone.width

    def regions(self) -> list[nn.Module]:
        return self.backbone.regions()

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, D) float32."""
        return vector(self.backbone, inputs)


def vector(model: Any, inputs: Inputs) -> Tensor:
    """(B, D) float32: over each text's tokens, of a decoder without the border, where there are others; of an encoder with the
    marks around the text, as sentence encoders are trained."""
    if model.kind in ("permuted", "encoder-decoder"):
        return model.pool(inputs).float()
    assert inputs.mask is not None
    counted = inputs.mask.clone()
    if model.kind == "causal":
        counted[:, 0] = counted.sum(1) == 1
    return pooling.mean(model.encode(inputs).float(), counted)
