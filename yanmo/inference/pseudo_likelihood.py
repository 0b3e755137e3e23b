"""How well a masked model knows texts: pseudo-log-likelihood, which is no probability of a text.

    PLL(text) = Σ ln p(token | all the others)        each token hidden in turn (Salazar et al. 2020, arXiv:1910.14659)

The other pieces of its own word tell much of a piece, so that long words would look probable: by default the pieces
behind it in its word are hidden too (`within_word`, Kauf & Ivanova 2023, arXiv:2305.10588). Chinese characters count as
words of their own here.

A token is predicted from both sides, which is easier than from the left alone: the bits per byte that follow from it
are reported as `pseudo_bits_per_byte`, beside other masked models and never in one column with likelihoods.

A text is read with what the tokenizer puts around it (`[CLS]` … `[SEP]`), or behind the border. One that is longer than
the model's context is read in windows that overlap by half, each token in the one that shows most on its nearer side.
It costs a row for each token; of long texts, `every` n-th token can stand for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.inference.likelihood import LONGEST, Likelihood, device_of, evaluating
from yanmo.models.base import Inputs, LanguageModel
from yanmo.text.spelling import Speller

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


def score_documents(
    model: LanguageModel,
    tokenizer: Tokenizer,
    documents: Sequence[str],
    *,
    within_word: bool = True,
    every: int = 1,
    context: int | None = None,
    batch_tokens: int | None = None,
    advance: Callable[[int], Any] | None = None,
) -> Likelihood:
    """-PLL of each text, its tokens and its bytes: `likelihood.score_documents` for a masked model."""
    tokens = [np.array(ids, dtype=np.int64) for ids in tokenizer.encode_batch(documents)]
    sizes = np.array([len(content.encode("utf-8", "surrogatepass")) for content in documents], dtype=np.int64)
    nats = score_tokens(model, tokenizer, tokens, within_word=within_word, every=every, context=context,
                        batch_tokens=batch_tokens, advance=advance)  # fmt: skip
    return Likelihood(nats, np.array([len(ids) for ids in tokens], dtype=np.int64), sizes)


def score_tokens(
    model: LanguageModel,
    tokenizer: Tokenizer,
    documents: Sequence[np.ndarray],
    *,
    within_word: bool = True,
    every: int = 1,
    context: int | None = None,
    batch_tokens: int | None = None,
    advance: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """-PLL of each text (N,) float64, given as ids without anything around them.

    `every` n: of each text only every n-th token is hidden, and the sum is multiplied accordingly; `context`: windows
    shorter than the model's; `advance(n)` is told how many tokens were scored. RequestError for a model or a tokenizer that
    hides nothing."""
    if model.kind != "masked":
        raise RequestError(text("pseudo-likelihood"), text("a masked model"), model.kind)
    if tokenizer.mask_id is None:
        wanted_token = text("a tokenizer with a special token {names}", names="<mask>")
        raise RequestError(text("pseudo-likelihood"), wanted_token, text("none"))
    device = device_of(model)
    batch_tokens = batch_tokens or (65_536 if device.type == "cuda" else 8_192)
    head = [tokenizer.eos_id] if tokenizer.cls_id is None else [tokenizer.cls_id]
    tail = [] if tokenizer.cls_id is None or tokenizer.sep_id is None else [tokenizer.sep_id]
    room = min(context or LONGEST, model.context or LONGEST) - len(head) - len(tail)
    if room < 1:
        raise RequestError(text("context"), text("room for a token and what stands around it"), str(context or model.context))
    speller = Speller(tokenizer) if within_word else None
    pieces = []
    for index, ids in enumerate(documents):
        words = np.arange(len(ids)) if speller is None or not len(ids) else speller.words(ids, list)
        wanted = np.zeros(len(ids), bool)
        wanted[every // 2 :: every] = True
        if len(ids) and not wanted.any():
            wanted[len(ids) // 2] = True
        for start, stop, first, last in windows(len(ids), room):
            row = np.array([*head, *ids[start:stop], *tail], np.int64)
            for place in np.flatnonzero(wanted[first:last]) + first:
                behind = place + 1
                while behind < stop and words[behind] == words[place] >= 0:
                    behind += 1
                pieces.append((len(row), index, row, place - start + len(head), behind - start + len(head)))
    pieces.sort(key=lambda piece: -piece[0])  # stable: in the order of the texts
    sums, counts = np.zeros(len(documents)), np.zeros(len(documents))
    with evaluating(model):
        at = 0
        while at < len(pieces):
            batch = pieces[at : at + max(1, batch_tokens // pieces[at][0])]
            at += len(batch)
            owners = [index for _, index, *_ in batch]
            np.add.at(sums, owners, _hidden(model, tokenizer, batch, device))
            np.add.at(counts, owners, 1)
            if advance is not None:
                advance(len(batch))
    lengths = np.array([len(ids) for ids in documents])
    return sums * np.divide(lengths, counts, out=np.zeros(len(documents)), where=counts > 0)


def windows(tokens: int, room: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop, first, last): the tokens [start, stop) are read, and of them those in [first, last) counted, each token
    in exactly one window, with a quarter of the room or the text's end on either side of it."""
    step = max(room // 2, 1)
    first = start = 0
    while first < tokens:
        stop = min(start + room, tokens)
        last = tokens if stop == tokens else min(stop, max(start + step + room // 4, first + 1))
        yield start, stop, first, last
        first, start = last, start + step


def _hidden(model: LanguageModel, tokenizer: Tokenizer, batch: list[tuple], device: torch.device) -> np.ndarray:
    """-ln p (n,) float64 of one hidden token in each row (length, owner, row, place, behind): [place, behind) are hidden."""
    longest = batch[0][0]
    tokens = np.full((len(batch), longest), tokenizer.pad_id, dtype=np.int64)
    select = torch.zeros(len(batch), longest, dtype=torch.bool)
    wanted = np.zeros(len(batch), dtype=np.int64)
    for index, (length, _, row, place, behind) in enumerate(batch):
        tokens[index, :length] = row
        tokens[index, place:behind] = tokenizer.mask_id
        select[index, place], wanted[index] = True, row[place]
    lengths = torch.tensor([length for length, *_ in batch])
    mask = torch.arange(longest) < lengths[:, None]
    targets = torch.from_numpy(wanted).to(device)

    def pick(logits: Tensor, positions: Tensor) -> Tensor:
        return logits.float().log_softmax(-1).gather(-1, targets[positions].unsqueeze(-1)).squeeze(-1)

    inputs = Inputs(torch.from_numpy(tokens).to(device), mask=None if mask.all() else mask.to(device))
    return -model(inputs, select=select.to(device), reduce=pick).reduced.double().cpu().numpy()
