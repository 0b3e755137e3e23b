"""How probable an encoder-decoder finds texts: what its decoder says where its encoder has read a gap and nothing else.

    denoiser          source <mask> </s>           decoder </s> | text …
    span corruption   source <extra_id_0> </s>     decoder <pad> | <extra_id_0> text …

That is a probability of the text, a product from left to right, and so stands beside those of decoders. It is far from
what such a model was trained for: it has seen no source that says so little. A gap of three tokens would have ended long
ago, so that special tokens (sentinels, the end) are no choice: each token's probability is among those that stand for
text. Texts longer than the decoder's context are read in windows that move on by half of it, as any decoder's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.inference.likelihood import LONGEST, Likelihood, device_of, evaluating
from yanmo.models.base import Inputs, LanguageModel
from yanmo.tasks.language_modeling import windows

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


def gap(tokenizer: Tokenizer, spans: bool) -> tuple[list[int], list[int]]:
    """(the source, what the decoder is given before the text). `spans`: of a model of span corruption."""
    end = tokenizer.eos_id if tokenizer.sep_id is None else tokenizer.sep_id
    sentinel = tokenizer.special.get("<extra_id_0>")
    if spans and sentinel is not None:
        return [sentinel, end], [tokenizer.pad_id, sentinel]
    if tokenizer.mask_id is None:
        raise RequestError(text("likelihood"), text("a tokenizer with a special token {names}", names="<mask> / <extra_id_0>"),
                           text("none"))  # fmt: skip
    if tokenizer.cls_id is not None:
        return [tokenizer.cls_id, tokenizer.mask_id, end], [end, tokenizer.cls_id]
    return [tokenizer.mask_id, end], [end]


def score_documents(
    model: LanguageModel,
    tokenizer: Tokenizer,
    documents: Sequence[str],
    *,
    spans: bool,
    batch_tokens: int | None = None,
    advance: Callable[[int], Any] | None = None,
) -> Likelihood:
    """-ln p of each text, its tokens and its bytes: `likelihood.score_documents` for an encoder-decoder."""
    if model.kind != "encoder-decoder":
        raise RequestError(text("likelihood"), text("an encoder-decoder model"), model.kind)
    device = device_of(model)
    batch_tokens = batch_tokens or (65_536 if device.type == "cuda" else 8_192)
    source, given = gap(tokenizer, spans)
    tokens = [np.array(ids, dtype=np.int64) for ids in tokenizer.encode_batch(documents)]
    sizes = np.array([len(content.encode("utf-8", "surrogatepass")) for content in documents], dtype=np.int64)
    room = min(model.context or LONGEST, LONGEST) - len(given) + 1  # the last token is only a target
    pieces = []
    for index, ids in enumerate(tokens):
        for start, first, end in windows(len(ids) + 1, room):  # as if one token stood before the text
            pieces.append((end - start, index, ids[start:end], first - start))
    pieces.sort(key=lambda piece: -piece[0])
    nats, at = np.zeros(len(tokens)), 0
    with evaluating(model):
        while at < len(pieces):
            batch = pieces[at : at + max(1, batch_tokens // (pieces[at][0] + len(given)))]
            at += len(batch)
            found, owners = _said(model, tokenizer, batch, source, given, device)
            np.add.at(nats, owners, found)
            if advance is not None:
                advance(len(found))
    return Likelihood(nats, np.array([len(ids) for ids in tokens], dtype=np.int64), sizes)


def _said(model: LanguageModel, tokenizer: Tokenizer, batch: list[tuple], source: list[int], given: list[int],
          device: torch.device) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """-ln p of every token that counts (n,) float64, and the text it belongs to (n,), in row order."""
    longest = batch[0][0] + len(given) - 1
    tokens = np.full((len(batch), longest), tokenizer.pad_id, dtype=np.int64)
    targets = np.zeros_like(tokens)
    select, mask = np.zeros(tokens.shape, bool), np.zeros(tokens.shape, bool)
    for row, (length, _, ids, first) in enumerate(batch):
        line = [*given, *ids]
        tokens[row, : len(line) - 1], targets[row, : len(line) - 1] = line[:-1], line[1:]
        mask[row, : len(line) - 1] = True
        select[row, len(given) - 1 + first : len(given) - 1 + length] = True
    wanted = torch.from_numpy(targets[select]).to(device)
    closed = torch.tensor(sorted({tokenizer.pad_id, *tokenizer.special.values()}), device=device)

    def pick(logits: Tensor, positions: Tensor) -> Tensor:
        chosen = logits.float().index_fill(-1, closed, float("-inf")).log_softmax(-1)
        return chosen.gather(-1, wanted[positions].unsqueeze(-1)).squeeze(-1)

    read = Inputs(torch.tensor([source] * len(batch), device=device))
    inputs = Inputs(torch.from_numpy(tokens).to(device), mask=torch.from_numpy(mask).to(device), source=read)
    found = model(inputs, select=torch.from_numpy(select).to(device), reduce=pick).reduced
    return -found.double().cpu().numpy(), np.repeat([index for _, index, *_ in batch], select.sum(1))
