"""Answers to many prompts by the engine, drawn by a seed each: the `generate` that objectives with rollouts are handed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from yanmo.inference.engine import Completion, Engine, Request
from yanmo.inference.sampling import Sampling
from yanmo.models.base import LanguageModel
from yanmo.text.tokenizer import Tokenizer

SLOTS = 64  # answers that are written at the same time


def generator(tokenizer: Tokenizer, slots: int = SLOTS) -> Callable[..., list[Completion]]:
    """A function from a model and prompts to its answers, in their order; an answer follows from its prompt and seed alone."""

    def generate(model: LanguageModel, prompts: Sequence[Sequence[int]], seeds: Sequence[int], *, max_tokens: int,
                 temperature: float = 1.0, stop: Sequence[str] = ()) -> list[Completion]:  # fmt: skip
        if not prompts:
            return []
        room = max(map(len, prompts)) + max_tokens
        engine = Engine(model, tokenizer, slots=min(slots, len(prompts)), capacity=room)
        settings: dict[str, Any] = {"max_tokens": max_tokens, "temperature": float(temperature), "stop": list(stop)}
        # those of like length begin together, so that their prompts are read together
        order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
        found = engine.complete(Request(prompts[index], Sampling(**settings, seed=seeds[index])) for index in order)
        answers = dict(zip(order, found))
        return [answers[index] for index in range(len(prompts))]

    return generate
