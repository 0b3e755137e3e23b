"""A model with a linear head that labels a text by the hidden state of its last token, which has read all of it, or by
what the model itself offers for the whole (`pool`: networks that read both ways, convolutions). Saved, it is what
Hugging Face calls a model "for sequence classification"."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from yanmo.models.base import Inputs, LanguageModel
from yanmo.models.headed import Headed


class Classifier(Headed):
    """`labels` is how many there are. The head is empty until `initialise` or loading fills it."""

    gives: ClassVar[str] = "classify"
    ending: ClassVar[str] = "ForSequenceClassification"

    def __init__(self, backbone: LanguageModel, labels: int):
        super().__init__(backbone, labels, bias=backbone.kind != "causal")

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, labels) float32 scores before the softmax. Padding on the right changes nothing."""
        return self.head(self.pool(inputs)).float()

    def pool(self, inputs: Inputs) -> Tensor:
        """(B, D): what the backbone has for each row; types of a pair go to backbones that know them."""
        if inputs.types is not None and not self.typed:
            inputs = replace(inputs, types=None)
        return self.backbone.pool(inputs)


class MultiClassifier(Classifier):
    """A classifier whose labels hold each for itself: its scores are taken before a sigmoid, not a softmax."""

    gives: ClassVar[str] = "labels"
    problem: ClassVar[str] = "multi_label_classification"  # what config.json calls it
