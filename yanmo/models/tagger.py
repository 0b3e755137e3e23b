"""A model with a linear head that gives each token a score for each tag (Devlin et al. 2019, section 5.3). Saved, it is what
Hugging Face calls a model "for token classification".

With a conditional random field on top (Lample et al. 2016) it also learns which tag follows which. No published kind of model
holds such transitions, and what would open it without them would tag otherwise: it is saved under a name of ours that only we
open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from yanmo.models.base import Inputs, LanguageModel
from yanmo.models.headed import Headed
from yanmo.nn.chain import Chain

Made = TypeVar("Made")


class Tagger(Headed):
    """`tags` is how many there are. A backbone that reads both ways knows what follows a token, a decoder does not."""

    gives: ClassVar[str] = "tag"
    ending: ClassVar[str] = "ForTokenClassification"

    def __init__(self, backbone: LanguageModel, tags: int):
        super().__init__(backbone, tags)

    def forward(self, inputs: Inputs) -> Tensor:
        """(B, T, tags) float32 scores before the softmax. Padding on the right changes nothing."""
        return self.head(self.states(inputs)).float()


class ChainTagger(Tagger):
    """A tagger of the tags `names` with the transitions among them: its scores are those of single tags, and `chain` weighs what
    they follow."""

    ending: ClassVar[str] = "CrfForTokenClassification"

    def __init__(self, backbone: LanguageModel, names: Sequence[str]):
        super().__init__(backbone, len(names))
        self.chain = Chain(names)

    def initialise(self, rng: torch.Generator) -> None:
        """The head; every transition that the tags' scheme allows begins as likely as any other."""
        super().initialise(rng)
        for parameter in self.chain.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Inputs, reduce: Callable[[Tensor, Chain], Made] | None = None) -> Tensor | Made:
        """(B, T, tags) float32; with `reduce`, what that makes of them and of the chain, within this pass."""
        scores = super().forward(inputs)
        return scores if reduce is None else reduce(scores, self.chain)
