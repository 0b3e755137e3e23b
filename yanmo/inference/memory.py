"""What a model has learned from, looked up while it writes: each next token also by what followed in the training answers
wherever the model was in a similar state.

    p(t)  =  (1 - λ) · p_model(t)  +  λ · Σ_{i: t_i = t} w_i          w  =  softmax(ln s_i - |h - h_i|² / (T · m))

over the `NEAREST` states h_i to the model's own h, its last hidden state; t_i is the token that came behind h_i in a training
answer, s_i how much its text is like the one at hand, m the mean |h_i|² (Khandelwal et al. 2021, arXiv:2010.00710, equation 3; of
the training pairs only those of the `PAIRS` most similar texts, as Deguchi et al. 2023, arXiv:2305.16021). So a small model need
not know by heart what it has read: terms and turns of phrase are found where they stand.

    known.jsonl    the training pairs, beside the model (models/nearest.py)

States are taken from the model when they are first asked for, and kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from yanmo.core.data import Example
from yanmo.inference.asking import asked
from yanmo.models.base import Inputs, Loaded
from yanmo.models.nearest import NearestWriter

if TYPE_CHECKING:
    from yanmo.tasks.writing import WritingTask

PAIRS = 128  # training pairs that are looked at
NEAREST = 16  # states
TEMPERATURE = 0.1
TOKENS = 4096  # in one pass, padding included
KEPT = 1 << 20  # states that are kept


@dataclass(frozen=True)
class Recollection:
    """What may be remembered while one answer is written: states (N, D) float32, the token behind each (N,), ln s (N,)."""

    states: Tensor
    tokens: Tensor
    closeness: Tensor
    weight: float  # λ

    def mixed(self, logprobs: Tensor, hidden: Tensor) -> Tensor:
        """Log probabilities (n, V) with what is remembered at the states (n, D)."""
        mean = self.states.square().sum(-1).mean()
        apart = torch.cdist(hidden.float(), self.states).square() / mean
        near, places = apart.topk(min(NEAREST, apart.shape[1]), largest=False)
        shares = (self.closeness[places] - near / TEMPERATURE).softmax(-1).to(logprobs.dtype)
        said = torch.zeros_like(logprobs).scatter_add_(1, self.tokens[places], shares)
        return torch.logaddexp(logprobs + math.log1p(-self.weight), said.log() + math.log(self.weight))


@dataclass(frozen=True)
class Near:
    """A training pair, and how much its text is `alike` the one that was asked about (cosine)."""

    text: str
    answer: str
    alike: float


class Memory:
    """A model's training pairs, and its own states in their answers."""

    def __init__(self, loaded: Loaded, task: WritingTask, known: NearestWriter):
        self.loaded, self.task, self.known = loaded, task, known
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._states = 0

    def recollection(self, content: str, weight: float) -> Recollection | None:
        """What is like a text; None where nothing is. `weight`: λ, above 0 and below 1."""
        places, alike = self.known.similar(content, PAIRS)
        if not places:
            return None
        if new := [place for place in places if place not in self._kept]:
            self._read(new)
        states, tokens = zip(*(self._kept[place] for place in places))
        closeness = torch.tensor(alike, dtype=torch.float32).log()
        if self._states > KEPT:
            self._kept, self._states = {}, 0
        joined = torch.cat(tokens)
        sizes = torch.tensor([len(found) for found in tokens])
        return Recollection(torch.cat(states).float(), joined, closeness.repeat_interleave(sizes).to(joined.device), weight)

    def near(self, contents: Sequence[str], most: int = 3) -> tuple[Near, ...]:
        """The training pairs most like any of these texts."""
        found: dict[int, float] = {}
        for content in contents:
            for place, alike in zip(*self.known.similar(content, most)):
                found[place] = max(alike, found.get(place, 0.0))
        best = sorted(found, key=lambda place: (-found[place], place))[:most]
        return tuple(Near(*self.known.known[place], round(found[place], 4)) for place in best)

    @torch.inference_mode()
    def _read(self, places: Sequence[int]) -> None:
        """Keeps the states of these pairs."""
        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        assert tokenizer is not None
        pairs = [self.known.known[place] for place in places]
        requests, _ = asked(self.loaded, self.task, [Example("", {"text": content}, "") for content, _ in pairs])
        end = self.task.end(tokenizer)
        answers = [[*tokenizer.encode(answer), end][: self.task.max_tokens] for _, answer in pairs]
        rows = [[*request.ids, *answer[:-1]] for request, answer in zip(requests, answers)]
        device = next(model.parameters()).device
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]) + len(requests[row].source or ()))
        while order:
            size = max(1, TOKENS // (len(rows[order[-1]]) + len(requests[order[-1]].source or ())))
            some, order = order[-size:], order[:-size]
            sources = [requests[row].source for row in some]
            source = None if sources[0] is None else _padded([list(own or ()) for own in sources], device)
            read = _padded([rows[row] for row in some], device)
            read.source = source
            hidden = model.encode(read)
            for row, states in zip(some, hidden):
                begin = len(requests[row].ids) - 1
                kept = states[begin : begin + len(answers[row])].half()
                self._kept[places[row]] = kept, torch.tensor(answers[row], device=device)
                self._states += len(kept)


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> Inputs:
    """Rows of unequal length as one rectangle, padded on the right."""
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    tokens[mask] = torch.tensor([token for row in rows for token in row])
    return Inputs(tokens.to(device), mask=mask.to(device))
