"""Fits a mixture's gate: whom to trust where, a network or the counts (`models/mixture.py`).

Counts know by heart what they were counted from, and a network that has read a small corpus many times knows it too, so a gate
must not learn from that text. It is fitted to half of the validation documents at most, which neither has been made of; they are
named, so that no evaluation counts them. A corpus without validation text has some of its training documents held back: counts of
the others are asked for them, the gate is fitted to what both give, and then everything is counted. Those the network has read;
where it did so many times, it is trusted too much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.corpus.order import RowOrder
from yanmo.corpus.tokens import Split
from yanmo.inference.likelihood import LONGEST, aligned, device_of, evaluating
from yanmo.models.base import LanguageModel
from yanmo.models.mixture import Evidence, Gate, Mixture, mix
from yanmo.tasks.language_modeling import windows

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

SHARE = 0.1  # of the training text at most is held back, where there is no validation text
LEAST = 64  # tokens that are held back of a single document at least
STEPS, ROWS, RATE = 400, 8192, 2e-2  # of the gate's fitting: it has some fifteen hundred weights
PASS = 8192  # positions in one pass of the network


@dataclass(frozen=True)
class Stream:
    """What a counted model reads."""

    tokens: Any


def fitted(network: LanguageModel, part: Any, split: Split, held_out: Split, stream: Any, tokenizer: Tokenizer, folder: Path,
           tokens: int, seed: int, log: Callable[..., None] | None = None) -> tuple[Mixture, dict[str, Any]]:  # fmt: skip
    """The mixture of `network` and the counts of `stream` (all training tokens, as sources weigh) by `part`, its gate fitted to
    about `tokens` tokens of documents of `held_out` (of `split`, where that has not two); and figures in nats a token on those:
    the network's, the counts', both's; `fitted_to`: the ids of held-out documents.

    DataError where there is no text that could be held back."""
    apart = len(held_out.documents["count"]) > 1
    place = held_out if apart else split
    held = held_back(place, tokens, seed, 0.5 if apart else SHARE)
    rest = np.ones(0 if apart else len(split), bool)
    for _, first, count in [] if apart else held:
        rest[first : first + count] = False
    texts = [np.asarray(place.tokens[first : first + min(count, tokens)]) for _, first, count in held]
    told = stream if apart else np.asarray(split.tokens)[rest]
    sample = Mixture(network, part.fit(Stream(told), tokenizer, folder, log))
    seen = evidence(sample, texts)
    fit(sample.gate, seen, seed)
    with torch.no_grad():
        both = mix(sample.gate, seen)
        shares = sample.gate(seen.features, seen.recalls).exp().mean(0)
    whole = sample if apart else Mixture(network, part.fit(Stream(stream), tokenizer, folder, log), sample.gate)
    found = {"network": seen.network, "counted": seen.counted, "mixture": both}
    ids = sorted(str(place.documents["id"][index]) for index, _, _ in held) if apart else []
    return whole, {"documents": len(held), "tokens": len(both),
                   "shares": {name: round(float(share), 4) for name, share in zip(("network", "counted", "recalled"), shares)},
                   "nats_a_token": {name: round(-float(value.mean()), 6) for name, value in found.items()},
                   "fitted_to": ids}  # fmt: skip


def held_back(split: Split, tokens: int, seed: int, share: float) -> list[tuple[int, int, int]]:
    """(index, first, count) of documents, drawn from all over the split, of about `tokens` tokens and at most `share` of all; at
    least one document. Of a single one, its end."""
    firsts, counts = split.documents["first"], split.documents["count"]
    most = min(tokens, share * len(split))
    if len(counts) == 1:
        if most < LEAST:
            wanted = text("two documents, or at least {count} tokens to train on", count=round(LEAST / share))
            raise DataError(str(split.folder), wanted, str(len(split)))
        return [(0, int(firsts[0] + counts[0]) - int(most), int(most))]
    order = RowOrder(len(counts), seed).rows(0, np.arange(len(counts)))
    taken = max(1, int(np.searchsorted(np.cumsum(counts[order]), most, side="right")))
    return [(index, int(firsts[index]), int(counts[index])) for index in sorted(order[:taken].tolist())]


def evidence(mixture: Mixture, documents: list[np.ndarray]) -> Evidence:
    """`Mixture.evidence` of every token of the documents, (N, …), read as they are when they are scored."""
    context, device = min(LONGEST, mixture.context or LONGEST), device_of(mixture)
    pieces = [(end - start, index, start, first, end)
              for index, ids in enumerate(documents) for start, first, end in windows(len(ids), context)]  # fmt: skip
    pieces.sort(key=lambda piece: (-piece[0], piece[1], piece[2]))
    found: list[Evidence] = []
    with evaluating(mixture):
        while pieces:
            size = max(1, PASS // pieces[0][0])
            batch, pieces = pieces[:size], pieces[size:]
            rows = [documents[index][start : end + 1] for _, index, start, _, end in batch]
            before = [documents[index][:start] for _, index, start, _, _ in batch]
            inputs, targets, select = aligned(rows, [first - start for _, _, start, first, _ in batch], device, before)
            found.append(mixture.evidence(inputs, targets).chosen(select))
    return Evidence(*(torch.cat([getattr(one, field.name).cpu() for one in found]) for field in fields(Evidence)))


def fit(gate: Gate, seen: Evidence, seed: int) -> None:
    """Minimises the mixture's -ln p over the gate's weights: Adam, a cosine to zero; the same weights for the same evidence."""
    rng = torch.Generator().manual_seed(seed)
    gate.initialise(rng)
    optimizer = torch.optim.Adam(gate.parameters(), lr=RATE)
    with torch.enable_grad():
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
            chosen = torch.randint(len(seen.network), (min(ROWS, len(seen.network)),), generator=rng)
            loss = -mix(gate, seen.chosen(chosen)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
