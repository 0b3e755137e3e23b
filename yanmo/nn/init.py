"""Layers whose numbers come from the given generator alone, and the draws that fill them.

torch's own layers draw from the global generator when they are made; these are made empty and filled by `fill`, so that
one seed gives one model whatever else the process has drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def linear(inputs: int, *outputs: int, bias: bool = False) -> nn.Linear:
    """A linear map without values yet. Several `outputs` are maps side by side in one matrix; their sizes are kept as
    `weight.pieces`, for whoever must treat them one by one (Muon, the saved form)."""
    layer = nn.utils.skip_init(nn.Linear, inputs, sum(outputs), bias=bias)
    for parameter in layer.parameters():
        parameter.pieces = outputs
    return layer


def embedding(vocabulary: int, width: int) -> nn.Embedding:
    """A table (V, D) without values yet. (Not by skip_init: that draws on the meta device, for which torch imports its
    compiler, a second's work.)"""
    return nn.Embedding(vocabulary, width, _weight=torch.empty(vocabulary, width))


@torch.no_grad()
def fill(tensor: Tensor, std: float, rng: torch.Generator) -> None:
    """Normal draws of the given standard deviation, made on the CPU so that every device gets the same ones; 0 gives
    zeros and draws nothing."""
    if std == 0:
        tensor.zero_()
    else:
        tensor.copy_(torch.randn(tensor.shape, generator=rng, dtype=torch.float32).mul_(std))
