"""Answering: -ln p of an answer's tokens, its end among them, given the prompt before them. Of the prompt nothing is learned.

    decoder            <border> prompt … answer … <end>       loss on `Row.trained`, the answer and its end
    encoder-decoder    prompt → the encoder, answer and end → the decoder

With `pack`, short rows of a decoder's batch stand side by side in one as long as the batch's longest, and do not see each
other: less padding, the same loss.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import PrivateAttr

from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs
from yanmo.objectives.base import Batch, Context, Loss, Objective
from yanmo.objectives.packing import padded, read_and_written, real
from yanmo.objectives.surprise import selected


class Answer(Objective):
    """Write the answer to a prompt; the prompt itself is not learned.

    `pack`: short rows of a batch share one, without seeing each other."""

    kinds: ClassVar[tuple[str, ...]] = ("causal", "encoder-decoder")

    type: str = "answer"
    pack: bool = False

    _tokenizer: Any = PrivateAttr(default=None)
    _two: bool = PrivateAttr(default=False)  # encoder and decoder
    _start: int = PrivateAttr(default=0)  # what the decoder begins with

    @property
    def isolate(self) -> bool:
        """Whether several texts stand in one row and must not see each other."""
        return self.pack

    def bind(self, context: Context) -> Answer:
        """`context.models['trained']`: the model, which says whether prompts are read by an encoder, and (`starts`) which token
        its decoder begins with."""
        bound = self.model_copy()
        model, bound._tokenizer = context.models.get("trained"), context.tokenizer
        bound._two = getattr(model, "kind", "causal") == "encoder-decoder"
        start = getattr(model, "starts", None)
        bound._start = context.tokenizer.pad_id if start is None else start
        return bound

    def check(self, model: Any) -> None:
        super().check(model)
        kind = getattr(model, "kind", "causal")
        if self.pack and (kind != "causal" or getattr(model, "attends", True) is False):
            raise RequestError("objective.pack", text("a decoder with our attention"), str(kind), text("leave out 'pack'"))

    def collate(self, rows: list[Row], rng: torch.Generator) -> Batch:
        if self._two:
            return self._read_and_written(rows)
        bins = packed(rows) if self.pack else [[row] for row in rows]
        tokens = [np.concatenate([row.tokens[:-1] for row in some]) for some in bins]
        targets = [np.concatenate([row.tokens[1:] for row in some]) for some in bins]
        weights = [np.concatenate([counted(row)[1:] for row in some]) for some in bins]
        documents = None
        if any(len(some) > 1 for some in bins):
            numbers = [np.repeat(np.arange(len(some)), [len(row.tokens) - 1 for row in some]) for some in bins]
            documents = torch.from_numpy(padded(numbers, 0))
        pad = self._tokenizer.pad_id
        return Batch(
            Inputs(torch.from_numpy(padded(tokens, pad)), documents=documents, mask=real(tokens)),
            targets=torch.from_numpy(padded(targets, pad)), weights=torch.from_numpy(padded(weights, 0, np.float32)),
            items=[" + ".join(row.example for row in some) for some in bins],
        )  # fmt: skip

    def _read_and_written(self, rows: list[Row]) -> Batch:
        sources, targets, weights = [], [], []
        for row in rows:
            counts = counted(row)
            begin = int(np.argmax(counts))
            prompt = list(row.tokens[:begin])
            if prompt and prompt[0] == self._tokenizer.bos_id:
                prompt = prompt[1:]  # an encoder's own marks stand around it instead
            sources.append(self._tokenizer.add_special(prompt).ids or [self._tokenizer.eos_id])
            targets.append(np.asarray(row.tokens[begin:]))
            weights.append(counts[begin:])
        made = read_and_written(rows, sources, targets, self._start, self._tokenizer.pad_id)
        made.weights = torch.from_numpy(padded(weights, 0, np.float32))
        return made

    def loss(self, model: Any, batch: Batch) -> Loss:
        return selected(model, batch, self.smoothing)[0]


def counted(row: Row) -> np.ndarray:
    """(T,) float: 1 for the tokens that are trained; a row that says nothing is all answer but for its first token."""
    if row.trained is None:
        made = np.ones(len(row.tokens), np.float32)
        made[0] = 0.0
        return made
    return np.asarray(row.trained, np.float32)


def packed(rows: list[Row]) -> list[list[Row]]:
    """Rows side by side in as few as first-fit decreasing finds, none longer than the longest row; each shared row in the
    order in which its texts were given."""
    longest = max(len(row.tokens) - 1 for row in rows)
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: (-len(rows[i].tokens), i)):
        size = len(rows[index].tokens) - 1
        place = next((number for number, left in enumerate(room) if left >= size), None)
        if place is None:
            bins.append([index])
            room.append(longest - size)
        else:
            bins[place].append(index)
            room[place] -= size
    return [[rows[index] for index in sorted(some)] for some in sorted(bins, key=min)]
