"""Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): of a model's repeated regions only the inputs are kept for
the backward pass, which computes the rest a second time.

Memory for activations falls from all layers' to one layer's and an input a layer, for about a third more time. The second
computation begins from the random numbers of the first, so that the gradients are the same to the bit, dropout included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from yanmo.core.errors import RequestError
from yanmo.core.messages import text


@contextmanager
def recomputed(model: nn.Module, wanted: bool, where: str = "train") -> Iterator[None]:
    """Within, the model's regions (`LanguageModel.regions`) are computed again in the backward pass."""
    if not wanted:
        yield
        return
    regions = [region for region in getattr(model, "regions", list)() if "forward" not in vars(region)]
    if not regions:
        raise RequestError(f"{where}.train.recompute", text("a model of layers that are alike (a Transformer without experts)"),
                           type(model).__name__, text("leave out 'recompute'"))  # fmt: skip
    for region in regions:
        region.forward = _twice(region, region.forward)
    try:
        yield
    finally:
        for region in regions:
            del region.forward


def _twice(region: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def call(*inputs: Any, **named: Any) -> Any:
        if region.training and torch.is_grad_enabled():
            return checkpoint(forward, *inputs, use_reentrant=False, **named)
        return forward(*inputs, **named)

    return call
