"""A perturbation that proves who sees whom: one token of one document of a packed row is changed, and whose logits move is
looked at. Exact, needs no training, and asks any model the same: what a leak between documents would be, it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs

LENGTHS = (5, 9, 3, 12)
ROUNDING = 1e-5  # of the largest logit: experts and fused kernels do not add in one order


@dataclass(frozen=True)
class Isolation:
    """Largest changes of a logit. `leaked`: of any position of another document, over all documents; `moved`: of the changed
    document's own positions, the least over all documents; `scale`: the largest logit."""

    leaked: float
    moved: float
    scale: float

    @property
    def holds(self) -> bool:
        """Whether documents do not see each other, by a probe that saw something move."""
        return self.leaked <= ROUNDING * self.scale < self.moved


@torch.no_grad()
def isolation(model: Any, lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> Isolation:
    """Probes `model` with a row of documents of these lengths, changing the first token of each but its border, in turn.
    RequestError for a model that does not take packed rows."""
    if model.kind == "encoder-decoder":
        raise RequestError("documents", text("a model that reads packed rows"), model.kind)
    rng = torch.Generator().manual_seed(seed)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    documents = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None].to(device)
    tokens = torch.randint(0, model.vocabulary, documents.shape, generator=rng).to(device)
    training = model.training
    model.eval()
    try:
        before = model(Inputs(tokens, documents=documents)).logits.double()
        leaked, moved = 0.0, float("inf")
        for number, length in enumerate(lengths):
            changed = tokens.clone()
            at = sum(lengths[:number]) + min(1, length - 1)
            changed[0, at] = (tokens[0, at] + torch.randint(1, model.vocabulary, (), generator=rng).to(device)) % model.vocabulary
            difference = (model(Inputs(changed, documents=documents)).logits.double() - before).abs().amax(-1)
            own = documents == number
            leaked, moved = max(leaked, float(difference[~own].max())), min(moved, float(difference[own].max()))
    finally:
        model.train(training)
    return Isolation(leaked, moved, float(before.abs().max()))
