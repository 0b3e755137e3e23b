"""Texts of any length in constant memory: their tokens' log probabilities, a stretch at a time.

    for logprobs in stream(model, tokens):      # tokens: any iterable, a generator over a file too
        …

A Transformer with a window on every layer reads in `RollingSlots`: it sees its sinks and its window and never a position
beyond them. A recurrent model carries its state along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.inference.likelihood import device_of, evaluating, recurrent
from yanmo.models.base import Inputs, LanguageModel
from yanmo.nn.rolling import RollingSlots
from yanmo.nn.state import DenseSlots

STRETCH = 128  # tokens that one pass reads


def stream(model: LanguageModel, tokens: Iterable[int], stretch: int = STRETCH) -> Iterator[np.ndarray]:
    """log p of every token but the first, given those before it that the model still remembers: nats, float32 arrays of at most
    `stretch`. RequestError for a model whose memory grows with the text, and for a token that it does not know."""
    slots = endless(model, 1, stretch)
    left = iter(tokens)
    last = list(islice(left, 1))
    while more := list(islice(left, stretch)):
        ids = last + more
        wrong = next((token for token in ids if not 0 <= token < model.vocabulary), None)
        if wrong is not None:
            raise RequestError("tokens", text("token ids from 0 to {last}", last=model.vocabulary - 1), str(wrong))
        yield _read(model, ids, slots)
        last = ids[-1:]


def endless(model: LanguageModel, rows: int, stretch: int) -> DenseSlots:
    """Slots of constant size for texts of any length, read at most `stretch` tokens at a time; RequestError for a model that
    has none."""
    device = device_of(model)
    if rolls := getattr(model, "rolls", None):
        return RollingSlots(model.state(), rows, window=rolls[0], sinks=rolls[1], chunk=stretch, device=device)
    if recurrent(model):
        return DenseSlots(model.state(), rows, 2**62, device)
    raise RequestError("model", text("a window on every layer (or a recurrent model), to read on without end"), text("another"),
                       text("a transformer is given one by 'attention: {{window: 256, sinks: 4}}'"))  # fmt: skip


def _read(model: LanguageModel, ids: list[int], slots: DenseSlots) -> np.ndarray:
    line = torch.tensor(ids, device=device_of(model))

    def pick(logits: Tensor, positions: Tensor) -> Tensor:
        return logits.float().log_softmax(-1).gather(-1, line[1:][positions].unsqueeze(-1)).squeeze(-1)

    with evaluating(model):
        found = model(Inputs(line[None, :-1]), slots, reduce=pick).reduced
    slots.advance(len(ids) - 1)
    return found.cpu().numpy()
