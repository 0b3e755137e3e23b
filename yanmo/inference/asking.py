"""What a model is asked for a task's examples: the requests that its answers are written to."""

from __future__ import annotations

from collections.abc import Sequence

from yanmo.core.data import Example
from yanmo.inference.engine import Request
from yanmo.inference.sampling import sampling
from yanmo.models.base import Loaded
from yanmo.tasks.writing import WritingTask

WHOLE = 1 << 40  # tokens: no text is as long


def asked(loaded: Loaded, task: WritingTask, examples: Sequence[Example], temperature: float = 0.0,
          seed: int | None = None) -> tuple[list[Request], list[int]]:  # fmt: skip
    """What a model that writes is asked for each example, and how many tokens of its text that cuts off (as in training)."""
    from yanmo.inference.model import start_of

    assert loaded.tokenizer is not None
    model, two = loaded.model, loaded.model.kind == "encoder-decoder"
    room = WHOLE if model.context is None else task.room(model.context)
    requests, cuts = [], []
    for example in examples:
        ids, cut = task.prompt_ids(example, loaded.tokenizer, room, source=two)
        settings = sampling(max_tokens=task.max_tokens, temperature=temperature, seed=seed)
        requests.append(Request([start_of(loaded)], settings, ids) if two else Request(ids, settings))
        cuts.append(cut)
    return requests, cuts
