"""How the next token is chosen: the request's settings, and one vectorised choice for all rows of a step.

Each row draws from a generator of its own, one uniform number a token, and turns it into a token by the inverse of its
cumulative distribution. What a row gets depends on its own logits and seed alone: not on its slot, not on its
neighbours, not on how many tokens the step decodes.

Order: temperature, then `top_k`, then `min_p` and `top_p` on what is left (the order of Hugging Face's warpers). The
thresholds keep every token that ties with the last one kept, so the result never depends on a sort's order.
Nucleus sampling: Holtzman et al. 2019, arXiv:1904.09751; min-p: Nguyen et al. 2024, arXiv:2407.01082.
"""

from __future__ import annotations

import math
import os
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, field_validator
from torch import Tensor

from yanmo.core.config import Settings, build
from yanmo.core.messages import text

MAX_SEED = 2**63 - 1
NUCLEUS = 256  # tokens among which the end of a nucleus is looked for first
DRAWS = 64  # uniform numbers fetched from a generator at a time; the stream is the same for any block size

Number = Annotated[float, Field(allow_inf_nan=False)]


class Sampling(Settings):
    """One request's settings. `max_tokens` None: until the context is full (or the engine's own limit without one)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_tokens: int | None = Field(default=None, ge=0)
    temperature: Number = Field(default=1.0, ge=0, le=100)
    top_p: Number = Field(default=1.0, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    min_p: Number = Field(default=0.0, ge=0, le=1)
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    stop: list[str] = Field(default_factory=list)
    ignore_eos: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=100)  # how many alternatives to give beside each chosen token
    prompt_logprobs: bool = False  # the same for the tokens of the prompt

    @field_validator("stop")
    @classmethod
    def _stops(cls, value: list[str]) -> list[str]:
        if any(not item for item in value):
            raise ValueError(text("stop strings that are not empty"))
        return value

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


def sampling(**settings: Any) -> Sampling:
    """Settings from keywords; a wrong one is a RecipeError that names it. A lone `stop` string becomes a list."""
    if isinstance(settings.get("stop"), str):
        settings["stop"] = [settings["stop"]]
    return build(Sampling, {key: value for key, value in settings.items() if value is not None})


class Draws:
    """One row's stream of uniform numbers in [0, 1): the same for a seed wherever the row runs."""

    def __init__(self, seed: int | None):
        self.generator = torch.Generator()
        self.generator.manual_seed(int.from_bytes(os.urandom(8), "big") >> 1 if seed is None else seed)
        self.block: list[float] = []

    def next(self) -> float:
        if not self.block:
            self.block = torch.rand(DRAWS, generator=self.generator, dtype=torch.float64).tolist()
            self.block.reverse()
        return self.block.pop()


def choose(logits: Tensor, settings: list[Sampling], draws: list[Draws]) -> Tensor:
    """The next token of each row: logits (B, V) of any float dtype → (B,) int64 on the same device.

    NaN counts as impossible. A row without one possible token gives -1; the caller ends that request alone.
    """
    logits = logits.float()
    top, tokens = logits.max(-1)
    if not math.isfinite(sum(top.tolist())):  # max() propagates NaN, so this sees every row that needs care
        logits = torch.where(torch.isfinite(logits), logits, -torch.inf)
        top, tokens = logits.max(-1)
        tokens = torch.where(torch.isfinite(top), tokens, -1)
    sampled = [row for row, item in enumerate(settings) if not item.greedy]
    if not sampled:
        return tokens
    if len(sampled) == len(settings):
        return torch.where(tokens < 0, tokens, _draw(logits, settings, draws))
    rows = torch.tensor(sampled, device=logits.device)
    picked = _draw(logits[rows], [settings[row] for row in sampled], [draws[row] for row in sampled])
    tokens[rows] = torch.where(tokens[rows] < 0, tokens[rows], picked)
    return tokens


def _draw(logits: Tensor, settings: list[Sampling], draws: list[Draws]) -> Tensor:
    """Inverse-transform sampling of each row, in float64 so that the rounding of a long sum cannot pick a token."""

    def column(values: list[float]) -> Tensor | float:
        """(B, 1), or the one number that all rows share."""
        if values.count(values[0]) == len(values):
            return values[0]
        return torch.tensor(values, dtype=torch.float64, device=logits.device).unsqueeze(1)

    scaled = logits.double()
    scaled = (scaled - scaled.amax(-1, keepdim=True)) / column([item.temperature for item in settings])
    for row, item in enumerate(settings):
        if item.top_k is not None and item.top_k < scaled.shape[-1]:
            least = scaled[row].topk(item.top_k).values[-1]
            scaled[row].masked_fill_(scaled[row] < least, -torch.inf)
    weights = scaled.exp_()
    if any(item.min_p > 0 for item in settings):  # the best token's weight is 1, so the share is the threshold
        weights.masked_fill_(weights < column([item.min_p for item in settings]), 0)
    if any(item.top_p < 1 for item in settings):
        share = column([item.top_p for item in settings])
        least = _nucleus(weights, share)
        weights.masked_fill_((weights < least) & (torch.as_tensor(share, device=least.device) < 1), 0)
    cumulative = weights.cumsum(-1)
    whole = cumulative[:, -1:]
    target = torch.tensor([[draw.next()] for draw in draws], dtype=torch.float64, device=logits.device) * whole
    target = torch.minimum(target, torch.nextafter(whole, torch.zeros_like(whole)))  # a draw next to 1 may round up to 1
    # right=True: the first token whose cumulative weight exceeds the target, never one of weight 0
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def _nucleus(weights: Tensor, share: Tensor | float) -> Tensor:
    """The least weight (B, 1) in the smallest set that holds `share` of each row's sum (B, V): among the NUCLEUS greatest
    where those hold it, which spares the sorting of a whole vocabulary."""
    wanted = weights.sum(-1, keepdim=True) * share
    for count in (NUCLEUS, weights.shape[-1]):
        if count <= weights.shape[-1]:
            greatest = weights.topk(count).values
            mass = greatest.cumsum(-1)
            if count == weights.shape[-1] or bool((mass[:, -1:] >= wanted).all()):
                break
    last = (mass < wanted).sum(-1, keepdim=True).clamp_(max=count - 1)
    return greatest.gather(-1, last)


def top_logprobs(logits: Tensor, tokens: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """log p of `tokens` (N,) under logits (N, V), and the `count` best: (N,), (N, count) values, (N, count) ids.

    In float32 nats, before temperature. A token that is among the best has the very same float in both places.
    """
    logprobs = logits.float().log_softmax(-1)
    chosen = logprobs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    values, ids = logprobs.topk(min(count, logprobs.shape[-1]), -1)
    return chosen, values, ids
