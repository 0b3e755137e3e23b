"""How probable a model finds continuations of contexts: what choices are scored by, and what lm-evaluation-harness asks for.

    context + continuation are encoded together and cut where the context alone would end, as the harness does, so that a word is
    split into tokens as in running text; blanks at the context's end belong to the continuation. A context begins with the
    border that training puts before a text.

    row        <border> context … continuation …          of each token of the continuation ln p, given all before it
    too long   the context loses its beginning (counted in `cut`); a continuation longer than the model's whole context is read
               in windows that move on by half of it

An encoder-decoder reads the context and writes the continuation. Requests with the same inputs are read once, so that labels
of one token cost as much as one text. Rows are batched by length and padded on the right and masked: a figure does not depend on
its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from yanmo.core.messages import Text, text
from yanmo.inference.likelihood import LONGEST, device_of, evaluating
from yanmo.models.base import Inputs, LanguageModel, Loaded
from yanmo.tasks.language_modeling import windows
from yanmo.text.chat import render

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

Pair = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Continued:
    """Of one continuation: ln p (NaN where the model gives none), its tokens, whether each was the likeliest, and how many tokens
    of the context were cut."""

    logprob: float
    tokens: int
    greedy: bool
    cut: int = 0


def unable(loaded: Loaded) -> Text | None:
    """Why a model cannot score continuations, or None."""
    if not isinstance(loaded.model, LanguageModel) or loaded.labels:
        return text("it labels texts and gives no probability to text")
    if loaded.tokenizer is None:
        return text("it has no tokenizer")
    if loaded.model.kind == "masked":
        return text("it reads from both sides and goes on with no text")
    return None


def pair_ids(tokenizer: Tokenizer, context: str, continuation: str) -> Pair:
    """(the border and the context's tokens, the continuation's tokens, at least one). Where a token reaches over the seam ('S' +
    'he' is one token, 'She'), the continuation begins with it, so that nothing of the text is lost or said twice."""
    assert continuation, "a continuation of nothing"
    kept = context.rstrip()
    context, continuation = kept, context[len(kept) :] + continuation
    before = tokenizer.encode(context) if context else []
    return seam([tokenizer.bos_id, *before], [tokenizer.bos_id, *tokenizer.encode(context + continuation)])


def seam(before: list[int], whole: list[int]) -> Pair:
    """`whole` cut behind what it has in common with `before`, at most up to its last token; both begin with the border."""
    shared = next((place for place, (one, other) in enumerate(zip(before, whole)) if one != other), min(len(before), len(whole)))
    shared = max(1, min(shared, len(whole) - 1))
    return whole[:shared], whole[shared:]


def score_texts(loaded: Loaded, pairs: Sequence[tuple[str, str]], *, chat: bool = False,
                batch_tokens: int | None = None) -> list[Continued]:  # fmt: skip
    """ln p of each continuation after its context, texts both. `chat`: the context is a message, in the model's own template, and
    the continuation what the answer begins with."""
    assert loaded.tokenizer is not None
    if chat:
        spoken = {context: render([{"role": "user", "content": context}], loaded.tokenizer) for context, _ in pairs}
        asked = [(spoken[context], loaded.tokenizer.encode(answer.lstrip())) for context, answer in pairs]
        return score_pairs(loaded.model, asked, batch_tokens=batch_tokens)
    if loaded.model.kind == "encoder-decoder":
        return score_answers(loaded, pairs, batch_tokens=batch_tokens)
    return score_pairs(loaded.model, [pair_ids(loaded.tokenizer, *pair) for pair in pairs], batch_tokens=batch_tokens)


def score_pairs(model: LanguageModel, pairs: Sequence[Pair], *, batch_tokens: int | None = None) -> list[Continued]:
    """The same of tokens: (context, continuation), neither empty."""
    limit = min(model.context or LONGEST, LONGEST)
    rows: dict[tuple[int, ...], list[tuple[int, int, list[int]]]] = {}  # inputs → (request, first position that counts, targets)
    cuts = []
    for number, (context, continuation) in enumerate(pairs):
        assert context, "a context of nothing"
        assert continuation, "a continuation of nothing"
        ids = [*context, *continuation]
        if len(continuation) <= limit:
            cuts.append(max(len(ids) - 1 - limit, 0))
            pieces = [(ids[-(limit + 1) :], len(continuation))]
        else:
            cuts.append(0)
            pieces = [(ids[start : end + 1], end - max(first, len(context) - 1))
                      for start, first, end in windows(len(ids), limit) if end >= len(context)]  # fmt: skip
        for piece, counted in pieces:
            rows.setdefault(tuple(piece[:-1]), []).append((number, len(piece) - 1 - counted, piece[1:]))
    logprobs, greedy = np.zeros(len(pairs)), np.ones(len(pairs), bool)
    for batch in _batches(list(rows), batch_tokens or _room(model)):
        for number, found, likeliest in _read(model, batch, [rows[inputs] for inputs in batch]):
            logprobs[number] += found
            greedy[number] &= likeliest
    return [Continued(float(logprobs[number]), len(continuation), bool(greedy[number]), cuts[number])
            for number, (_, continuation) in enumerate(pairs)]  # fmt: skip


def _room(model: LanguageModel) -> int:
    return 65_536 if device_of(model).type == "cuda" else 8_192


def _batches(rows: list[tuple[int, ...]], batch_tokens: int) -> list[list[tuple[int, ...]]]:
    """Rows of like length together, the longest first, as many as fit."""
    batches: list[list[tuple[int, ...]]] = []
    for row in sorted(rows, key=lambda row: (-len(row), row)):
        if batches and len(batches[-1][0]) * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _read(model: LanguageModel, rows: list[tuple[int, ...]], asked: list[list[tuple[int, int, list[int]]]],
          source: Inputs | None = None) -> list[tuple[int, float, bool]]:  # fmt: skip
    """(request, ln p, whether greedy decoding would have written it) of every request for one of the rows, in one pass."""
    device = device_of(model)
    lengths = np.array([len(row) for row in rows])
    width, most = int(lengths.max()), max(map(len, asked))
    tokens, select = np.zeros((len(rows), width), dtype=np.int64), np.zeros((len(rows), width), bool)
    targets = np.full((len(rows), width, most), -1, dtype=np.int64)  # of every request that reads the row; -1: does not count
    for place, (row, requests) in enumerate(zip(rows, asked)):
        tokens[place, : len(row)] = row
        for index, (_, first, wanted) in enumerate(requests):
            targets[place, first : len(row), index] = wanted[first:]
            select[place, first : len(row)] = True
    chosen = torch.from_numpy(targets[select]).to(device)

    def pick(logits: Tensor, positions: Tensor) -> Tensor:
        wanted = chosen[positions].clamp_min(0)
        logprobs = logits.float().log_softmax(-1)
        found = logprobs.gather(-1, wanted)
        return torch.stack([found, (found >= logprobs.max(-1, keepdim=True).values).float()], -1)

    mask = torch.from_numpy(np.arange(width) < lengths[:, None])
    inputs = Inputs(torch.from_numpy(tokens).to(device), mask=None if mask.all() else mask.to(device), source=source)
    with evaluating(model):
        if model.trainable:
            reduced = model(inputs, select=torch.from_numpy(select).to(device), reduce=pick).reduced
        else:
            logits = model(inputs).logits[torch.from_numpy(select).to(device)]
            reduced = pick(logits, torch.arange(len(logits), device=device))
    values = reduced.double().cpu().numpy()  # (positions, requests, 2)
    found, at = [], 0
    for place, requests in enumerate(asked):
        part = values[at : at + int(select[place].sum())]
        counts = targets[place][select[place]] >= 0
        at += len(part)
        found += [(number, float(part[counts[:, index], index, 0].sum()), bool(part[counts[:, index], index, 1].all()))
                  for index, (number, _, _) in enumerate(requests)]  # fmt: skip
    return found


# ---------------------------------------------------------------------------------------------- encoder-decoders


def score_answers(loaded: Loaded, pairs: Sequence[tuple[str, str]], *, batch_tokens: int | None = None) -> list[Continued]:
    """ln p of each text as what the decoder writes, its encoder having read the context."""
    from yanmo.inference.model import start_of

    model, tokenizer = loaded.model, loaded.tokenizer
    assert tokenizer is not None
    limit, start = min(model.context or LONGEST, LONGEST), start_of(loaded)
    around = len(tokenizer.add_special([]).ids)
    sources: list[list[int]] = []
    cuts, rows, order = [], [], []
    for number, (context, continuation) in enumerate(pairs):
        ids, wanted = tokenizer.encode(context), tokenizer.encode(continuation)[:limit]
        cuts.append(max(len(ids) + around - limit, 0))
        sources.append(tokenizer.add_special(ids[cuts[-1] :]).ids)
        rows.append(((start, *wanted[:-1]), wanted))
        order.append(number)
    order.sort(key=lambda number: (-len(sources[number]) - len(rows[number][0]), number))
    found: dict[int, Continued] = {}
    room, device = batch_tokens or _room(model), device_of(model)
    while order:
        size = max(1, room // (len(sources[order[0]]) + len(rows[order[0]][0])))
        batch, order = order[:size], order[size:]
        width = max(len(sources[number]) for number in batch)
        read = torch.tensor([sources[n] + [tokenizer.pad_id] * (width - len(sources[n])) for n in batch], device=device)
        mask = torch.arange(width, device=device) < torch.tensor([len(sources[n]) for n in batch], device=device)[:, None]
        asked = [[(number, 0, rows[number][1])] for number in batch]
        for number, logprob, greedy in _read(model, [rows[n][0] for n in batch], asked, Inputs(read, mask=mask)):
            found[number] = Continued(logprob, len(rows[number][1]), greedy, cuts[number])
    return [found[number] for number in range(len(pairs))]
