"""A model with a linear head that gives each token two scores: that an answer begins with it, and that one ends with it
(Devlin et al. 2019, section 4.2). Saved, it is what Hugging Face calls a model "for question answering"."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from yanmo.models.base import Inputs, LanguageModel
from yanmo.models.headed import Headed


class Reader(Headed):
    """Reads a question and a text behind it."""

    gives: ClassVar[str] = "span"
    ending: ClassVar[str] = "ForQuestionAnswering"
    layer: ClassVar[str] = "edges"

    def __init__(self, backbone: LanguageModel):
        super().__init__(backbone, 2)

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, T, 2) float32 scores of first and last tokens, before the softmax over the row. Padding on the right changes
        nothing but its own scores."""
        return self.head(self.states(inputs)).float()
