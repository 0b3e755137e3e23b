"""A reward model at work: what it says of prompts with answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from yanmo.core.data import Example
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.inference.likelihood import device_of
from yanmo.models.base import Inputs, Loaded
from yanmo.tasks.conversation import answer_ids, prompt_ids

ROWS = 16  # texts that are read at the same time
WINDOW = 1024  # tokens of a text that a model without a context limit takes at once


def judge(loaded: Loaded, where: str) -> Callable[[Sequence[Example], Sequence[str]], list[float]]:
    """Examples and answers → the model's score of each; RequestError where it is no reward model."""
    model: Any = loaded.model
    if len(loaded.labels) != 1 or not isinstance(model, torch.nn.Module) or loaded.tokenizer is None:
        given = text("a model of {count} labels", count=len(loaded.labels)) if loaded.labels else text("one without labels")
        raise RequestError(where, text("a reward model: one score for a text"), given,
                           text("train one by 'align' with the objective 'reward'"))  # fmt: skip
    tokenizer, length = loaded.tokenizer, getattr(model, "context", None) or WINDOW

    @torch.no_grad()
    def score(examples: Sequence[Example], answers: Sequence[str]) -> list[float]:
        rows = []
        for example, answer in zip(examples, answers):
            prompt, written = (example.fields["prompt"], answer)
            ids = [*prompt_ids(prompt, tokenizer), *answer_ids(prompt, written, tokenizer)]
            rows.append(ids if len(ids) <= length else [ids[0], *ids[len(ids) - length + 1 :]])
        order = sorted(range(len(rows)), key=lambda index: (len(rows[index]), index))
        found = [0.0] * len(rows)
        for start in range(0, len(order), ROWS):
            chosen = order[start : start + ROWS]
            longest = len(rows[chosen[-1]])
            tokens = torch.tensor([rows[i] + [tokenizer.pad_id] * (longest - len(rows[i])) for i in chosen])
            mask = torch.arange(longest) < torch.tensor([len(rows[i]) for i in chosen])[:, None]
            device = device_of(model)
            for index, value in zip(chosen, model(Inputs(tokens.to(device), mask=mask.to(device)))[:, 0].tolist()):
                found[index] = value
        return found

    return score
