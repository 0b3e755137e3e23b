"""How probable a model finds texts: the one place where bits per byte come from.

Evaluation, the validation during pretraining and `yanmo score` all call this, so that one number means one thing.
Windows of many documents are sorted by length and batched; padding is on the right and masked, so that the result does
not depend on the batch. Only the positions that count reach the head (`select`), and its logits are reduced chunk by
chunk in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from yanmo.models.base import Inputs, LanguageModel
from yanmo.tasks.language_modeling import bits_per_byte, perplexity, windows

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

LONGEST = 16_384  # the window of a model without a context limit: bounds memory, far beyond any n-gram's reach


@dataclass(frozen=True)
class Likelihood:
    """Per document: -ln p of its text, the tokens and the UTF-8 bytes of its text (border not counted). Arrays (N,)."""

    nats: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray

    @property
    def bits_per_byte(self) -> float:
        return bits_per_byte(float(self.nats.sum()), float(self.bytes.sum()))

    @property
    def perplexity(self) -> float:
        return perplexity(float(self.nats.sum()), float(self.tokens.sum()))


def score_documents(
    model: LanguageModel,
    tokenizer: Tokenizer,
    documents: Sequence[str],
    *,
    batch_tokens: int | None = None,
    advance: Callable[[int], Any] | None = None,
) -> Likelihood:
    """Each text as a document of its own: border token, then its tokens; every byte counted once."""
    border = tokenizer.eos_id
    tokens = [np.array([border, *ids], dtype=np.int64) for ids in tokenizer.encode_batch(documents)]
    sizes = np.array([len(text.encode("utf-8", "surrogatepass")) for text in documents], dtype=np.int64)
    nats = score_tokens(model, tokens, batch_tokens=batch_tokens, advance=advance)
    return Likelihood(nats, np.array([len(ids) - 1 for ids in tokens], dtype=np.int64), sizes)


def score_tokens(
    model: LanguageModel,
    documents: Sequence[np.ndarray],
    *,
    context: int | None = None,
    batch_tokens: int | None = None,
    advance: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """-ln p of each document (N,) float64, the first token of each (its border) given and not scored.

    `context`: shorter windows than the model's own; `batch_tokens`: positions in one forward pass; `advance(n)` is told
    how many tokens were scored.
    """
    device = device_of(model)
    batch_tokens = batch_tokens or (65_536 if device.type == "cuda" else 8_192)
    context = min(context or LONGEST, model.context or LONGEST)
    pieces = [(end - start, index, start, first, end)
              for index, ids in enumerate(documents) for start, first, end in windows(len(ids), context)]  # fmt: skip
    pieces.sort(key=lambda piece: (-piece[0], piece[1], piece[2]))
    nats = np.zeros(len(documents), dtype=np.float64)
    training = model.training
    model.eval()
    try:
        for batch in _batches(pieces, batch_tokens):
            found, owners = _score(model, documents, batch, device)
            np.add.at(nats, owners, found)
            if advance is not None:
                advance(len(found))
    finally:
        model.train(training)
    return nats


def device_of(model: torch.nn.Module) -> torch.device:
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def _batches(pieces: list[tuple], batch_tokens: int) -> list[list[tuple]]:
    """Consecutive pieces (longest first) as long as rows × longest fits."""
    batches: list[list[tuple]] = []
    for piece in pieces:
        if batches and batches[-1][0][0] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(piece)
        else:
            batches.append([piece])
    return batches


@torch.no_grad()
def _score(model: LanguageModel, documents: Sequence[np.ndarray], batch: list[tuple],
           device: torch.device) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """-ln p of every position that counts (n,) float64, and the document it belongs to (n,), in row order."""
    rows, longest = len(batch), batch[0][0]
    tokens = np.zeros((rows, longest), dtype=np.int64)  # 0 is padding
    targets = np.zeros((rows, longest), dtype=np.int64)
    mask, counted = np.zeros((rows, longest), dtype=bool), np.zeros((rows, longest), dtype=bool)
    owners = []
    for row, (length, index, start, first, end) in enumerate(batch):
        ids = documents[index][start : end + 1].astype(np.int64)
        tokens[row, :length], targets[row, :length] = ids[:-1], ids[1:]
        mask[row, :length], counted[row, first - start : length] = True, True
        owners.append(np.full(end - first, index))
    inputs = Inputs(torch.from_numpy(tokens).to(device), mask=torch.from_numpy(mask).to(device))
    wanted, select = torch.from_numpy(targets).to(device), torch.from_numpy(counted).to(device)
    if model.trainable:
        chosen = wanted[select]

        def pick(logits: Tensor, positions: Tensor) -> Tensor:
            return logits.float().log_softmax(-1).gather(-1, chosen[positions].unsqueeze(-1)).squeeze(-1)

        found = model(inputs, select=select, reduce=pick).reduced
    else:
        found = model.logprobs(inputs, wanted)[select]
    return -found.double().cpu().numpy(), np.concatenate(owners)
