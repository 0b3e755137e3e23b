"""Fits a mixture's gate: whom to trust where, a network or the counts (`models/mixture.py`).

Counts know by heart what they were counted from, so a gate must not learn from that text. Some documents are held back: counts of
the others are asked for them, the gate is fitted to what both give, and then everything is counted. The network has read the
documents that were held back, once or a few times; at its size it remembers little of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.corpus.order import RowOrder
from yanmo.corpus.tokens import Split
from yanmo.inference.likelihood import LONGEST, aligned, device_of, evaluating
from yanmo.models.base import LanguageModel
from yanmo.models.mixture import Gate, Mixture, mix
from yanmo.tasks.language_modeling import windows

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

SHARE = 0.1  # of the training text at most is held back
STEPS, ROWS, RATE = 400, 8192, 1e-2  # of the gate's fitting: it has some two hundred weights
PASS = 8192  # positions in one pass of the network


@dataclass(frozen=True)
class Stream:
    """What a counted model reads."""

    tokens: Any


def fitted(network: LanguageModel, part: Any, split: Split, stream: Any, tokenizer: Tokenizer, folder: Path,
           tokens: int, seed: int, log: Callable[..., None] | None = None) -> tuple[Mixture, dict[str, Any]]:  # fmt: skip
    """The mixture of `network` and the counts of `stream` (all training tokens, as sources weigh) by `part`, its gate fitted
    to about `tokens` tokens of documents of `split`; and figures in nats a token on those: the network's, the counts', both's.

    DataError where there are fewer than two documents."""
    held = held_back(split, tokens, seed)
    rest = np.ones(len(split), bool)
    for index in held:
        first, count = int(split.documents["first"][index]), int(split.documents["count"][index])
        rest[first : first + count] = False
    sample = Mixture(network, part.fit(Stream(np.asarray(split.tokens)[rest]), tokenizer, folder, log))
    features, by_network, by_counts = evidence(sample, [document(split, index, tokens) for index in held])
    fit(sample.gate, features, by_network, by_counts, seed)
    with torch.no_grad():
        both = mix(sample.gate(features), by_network, by_counts)
        share = torch.sigmoid(sample.gate(features)).mean()
    whole = Mixture(network, part.fit(Stream(stream), tokenizer, folder, log), sample.gate)
    found = {"network": by_network, "counted": by_counts, "mixture": both}
    return whole, {"documents": len(held), "tokens": len(features), "trust_in_the_network": round(float(share), 4),
                   "nats_a_token": {name: round(-float(value.mean()), 6) for name, value in found.items()}}  # fmt: skip


def held_back(split: Split, tokens: int, seed: int) -> list[int]:
    """Documents, drawn from all over the split, of about `tokens` tokens and at most SHARE of all; at least one."""
    counts = split.documents["count"]
    if len(counts) < 2:
        raise DataError(str(split.folder), text("at least two documents to train on"), str(len(counts)))
    order = RowOrder(len(counts), seed).rows(0, np.arange(len(counts)))
    total = np.cumsum(counts[order])
    return sorted(order[: max(1, int(np.searchsorted(total, min(tokens, SHARE * len(split)), side="right")))].tolist())


def document(split: Split, index: int, most: int) -> np.ndarray:
    first, count = int(split.documents["first"][index]), int(split.documents["count"][index])
    return np.asarray(split.tokens[first : first + min(count, most)])


def evidence(mixture: Mixture, documents: list[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    """`Mixture.evidence` of every token of the documents, read as they are when they are scored: (N, FEATURES), (N,), (N,)."""
    context, device = min(LONGEST, mixture.context or LONGEST), device_of(mixture)
    pieces = [(end - start, index, start, first, end)
              for index, ids in enumerate(documents) for start, first, end in windows(len(ids), context)]  # fmt: skip
    pieces.sort(key=lambda piece: (-piece[0], piece[1], piece[2]))
    found: list[tuple[Tensor, ...]] = []
    with evaluating(mixture):
        while pieces:
            size = max(1, PASS // pieces[0][0])
            batch, pieces = pieces[:size], pieces[size:]
            rows = [documents[index][start : end + 1] for _, index, start, _, end in batch]
            inputs, targets, select = aligned(rows, [first - start for _, _, start, first, _ in batch], device)
            found.append(tuple(value[select].cpu() for value in mixture.evidence(inputs, targets)))
    features, network, counted = (torch.cat(column) for column in zip(*found))
    return features, network, counted


def fit(gate: Gate, features: Tensor, network: Tensor, counted: Tensor, seed: int) -> None:
    """Minimises the mixture's -ln p over the gate's weights: Adam, a cosine to zero; the same weights for the same evidence."""
    rng = torch.Generator().manual_seed(seed)
    gate.initialise(rng)
    optimizer = torch.optim.Adam(gate.parameters(), lr=RATE)
    with torch.enable_grad():
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
            chosen = torch.randint(len(features), (min(ROWS, len(features)),), generator=rng)
            loss = -mix(gate(features[chosen]), network[chosen], counted[chosen]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
