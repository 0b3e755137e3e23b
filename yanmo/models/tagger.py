"""A model with a linear head that gives each token a score for each tag (Devlin et al. 2019, section 5.3; Lample et al.
2016 without the CRF). Saved, it is what Hugging Face calls a model "for token classification"."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from yanmo.models.base import Inputs, LanguageModel
from yanmo.models.headed import Headed


class Tagger(Headed):
    """`tags` is how many there are. A backbone that reads both ways knows what follows a token, a decoder does not."""

    gives: ClassVar[str] = "tag"
    ending: ClassVar[str] = "ForTokenClassification"

    def __init__(self, backbone: LanguageModel, tags: int):
        super().__init__(backbone, tags)

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, T, tags) float32 scores before the softmax. Padding on the right changes nothing."""
        return self.head(self.states(inputs)).float()
