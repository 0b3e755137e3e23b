"""How probable a model finds texts: the one place where bits per byte come from.

Evaluation, the validation during pretraining and `yanmo score` all call this, so that one number means one thing.
Windows of many documents are sorted by length and batched; padding is on the right and masked, so that the result does
not depend on the batch. Models that remember a whole row in a state of fixed size (LSTM) need no windows: they read
whole documents, many at once, stretch by stretch, and carry the state along. Only the positions that count reach the
head (`select`), and its logits are reduced chunk by chunk in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, Slots
from yanmo.nn.state import DenseSlots
from yanmo.tasks.language_modeling import bits_per_byte, perplexity, windows

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

LONGEST = 16_384  # the window of a model without a context limit: bounds memory, far beyond any n-gram's reach
STRETCH = 256  # positions that a recurrent model reads in one pass


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
    border = tokenizer.bos_id
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
    if context is None and recurrent(model):
        return _read_through(model, documents, max(batch_tokens // STRETCH, 1), device, advance)
    if model.kind not in ("causal", "permuted"):
        raise RequestError(text("likelihood"), text("a model that gives the next token a probability"), model.kind,
                           text("a masked model has a pseudo-likelihood, which is another figure"))  # fmt: skip
    context = min(context or LONGEST, model.context or LONGEST)
    pieces = [(end - start, index, start, first, end)
              for index, ids in enumerate(documents) for start, first, end in windows(len(ids), context)]  # fmt: skip
    pieces.sort(key=lambda piece: (-piece[0], piece[1], piece[2]))
    nats = np.zeros(len(documents), dtype=np.float64)
    with evaluating(model):
        for batch in _batches(pieces, batch_tokens):
            found, owners = _score(model, documents, batch, device)
            np.add.at(nats, owners, found)
            if advance is not None:
                advance(len(found))
    return nats


def recurrent(model: LanguageModel) -> bool:
    """Whether the model reads rows of any length and remembers each in tensors whose size does not grow with it."""
    return model.trainable and model.context is None and not any(spec.per_token for spec in model.state().values())


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():  # not inference_mode: what a model caches must stay usable in training
            yield
    finally:
        model.train(training)


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


def _score(
    model: LanguageModel, documents: Sequence[np.ndarray], batch: list[tuple], device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """-ln p of every position that counts (n,) float64, and the document it belongs to (n,), in row order."""
    rows = [documents[index][start : end + 1] for _, index, start, _, end in batch]
    counted = [first - start for _, _, start, first, _ in batch]
    owners = np.concatenate([np.full(end - first, index) for _, index, _, first, end in batch])
    before = [documents[index][:start] for _, index, start, _, _ in batch] if model.recalls else None
    return _surprise(model, rows, counted, device, before=before), owners


def _read_through(
    model: LanguageModel, documents: Sequence[np.ndarray], rows: int, device: torch.device, advance: Callable | None
) -> np.ndarray:
    """The same for models that carry a state: `rows` documents at once, the longest first, each read once from its border."""
    nats = np.zeros(len(documents), dtype=np.float64)
    order = sorted((i for i, ids in enumerate(documents) if len(ids) > 1), key=lambda i: (-len(documents[i]), i))
    with evaluating(model):
        for begin in range(0, len(order), rows):
            group = order[begin : begin + rows]
            slots = DenseSlots(model.state(), len(group), len(documents[group[0]]), device)
            for start in range(0, len(documents[group[0]]) - 1, STRETCH):
                active = [i for i in group if len(documents[i]) - 1 > start]
                stretch = [documents[i][start : start + STRETCH + 1] for i in active]
                view = slots.at(range(len(active)))
                found = _surprise(model, stretch, [0] * len(active), device, view)
                lengths = [len(ids) - 1 for ids in stretch]
                view.advance(lengths)
                np.add.at(nats, np.repeat(active, lengths), found)
                if advance is not None:
                    advance(len(found))
    return nats


def _surprise(
    model: LanguageModel, rows: list[np.ndarray], counted: list[int], device: torch.device, slots: Slots | None = None,
    before: list[np.ndarray] | None = None,
) -> np.ndarray:  # fmt: skip
    """-ln p (n,) float64 of each row's tokens from number `counted` + 1 on, given those before it, in row order."""
    inputs, wanted, select = aligned(rows, counted, device, before)
    if model.trainable:
        chosen = wanted[select]

        def pick(logits: Tensor, positions: Tensor) -> Tensor:
            return logits.float().log_softmax(-1).gather(-1, chosen[positions].unsqueeze(-1)).squeeze(-1)

        found = model(inputs, slots, select=select, reduce=pick).reduced
    else:
        found = model.logprobs(inputs, wanted)[select]
    return -found.double().cpu().numpy()


def aligned(rows: list[np.ndarray], counted: list[int], device: torch.device,
            before: list[np.ndarray] | None = None) -> tuple[Inputs, Tensor, Tensor]:  # fmt: skip
    """Rows of tokens as inputs (B, T), the token behind each as its target (B, T), and which of them count (B, T): of each row
    those from number `counted` + 1 on. `before`: the text before each row, for models that look back beyond their context."""
    lengths = np.array([len(ids) - 1 for ids in rows])
    tokens = np.zeros((len(rows), lengths.max()), dtype=np.int64)  # 0 is padding
    targets = np.zeros_like(tokens)
    for row, ids in enumerate(rows):
        tokens[row, : lengths[row]], targets[row, : lengths[row]] = ids[:-1], ids[1:]
    place = np.arange(tokens.shape[1])
    mask = torch.from_numpy(place < lengths[:, None])
    select = mask & torch.from_numpy(place >= np.array(counted)[:, None])
    inputs = Inputs(torch.from_numpy(tokens).to(device), mask=None if mask.all() else mask.to(device))
    if before is not None and any(map(len, before)):
        said = np.full((len(rows), max(map(len, before))), -1, dtype=np.int64)
        for row, ids in enumerate(before):
            said[row, said.shape[1] - len(ids) :] = ids
        inputs.before = torch.from_numpy(said).to(device)
    return inputs, torch.from_numpy(targets).to(device), select.to(device)
