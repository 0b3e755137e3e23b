"""A model for a longer vocabulary: rows for new tokens, each the mean of those by which the model said the same before.

    spelling(base, extended)    the old ids of each new token (yanmo.text.extend)
    grow(model, first, ids)     embedding[first + n] = mean of embedding[ids[n]]; the head's rows and biases alike

The old rows stay as they are, bit for bit, and so does everything else: on a text without new tokens the hidden states are
those of before, and so are the logits of the old tokens. A mean is a beginning that training must only correct; rows drawn at
random cost a multiple of the steps (Hewitt 2021, "Initializing new word embeddings for pretrained language models"). Many
models have rows for more tokens than their tokenizer has: these are used first, and the table becomes longer only where they
do not suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.hf import HuggingFaceModel
from yanmo.nn.init import embedding, linear


@torch.no_grad()
def grow(model: Any, first: int, spelled: Sequence[Sequence[int]]) -> None:
    """Gives `model` rows for tokens `first`, `first` + 1, …, each spelled by older ids; in place. A token without any gets the
    mean of all. RequestError for a model without a table of tokens."""
    rows = max(model.vocabulary, first + len(spelled))
    if isinstance(model, HuggingFaceModel):
        _grow_foreign(model, rows, first, spelled)
        return
    if not isinstance(getattr(model, "embedding", None), nn.Embedding):
        raise RequestError("model", text("a model with a table of tokens, such as a Transformer or an LSTM"), model.family)
    table = _longer(model.embedding.weight, rows, first, spelled)
    model.embedding = embedding(*table.shape)
    model.embedding.weight.copy_(table)
    if model.head is not None:
        table = _longer(model.head.weight, rows, first, spelled)
        model.head = linear(table.shape[1], rows)
        model.head.weight.copy_(table)
    if getattr(model, "head_bias", None) is not None:
        model.head_bias = nn.Parameter(_longer(model.head_bias, rows, first, spelled))
    model.vocabulary = rows


def _longer(table: Tensor, rows: int, first: int, spelled: Sequence[Sequence[int]]) -> Tensor:
    """(rows, …) of a table (V, …), in its type; the means are taken in float32."""
    made = table.new_empty(rows, *table.shape[1:])
    made[: len(table)] = table
    whole = table[:first].float().mean(0)
    for number, ids in enumerate(spelled, first):
        made[number] = table[list(ids)].float().mean(0) if ids else whole
    return made


def _grow_foreign(model: HuggingFaceModel, rows: int, first: int, spelled: Sequence[Sequence[int]]) -> None:
    """transformers resizes what belongs together (ties, biases, its config); the new values are ours."""
    inner = model.inner
    tables = _tables(inner)
    made = [_longer(table, rows, first, spelled) for table in tables]
    if rows != model.vocabulary:
        inner.resize_token_embeddings(rows, mean_resizing=False)
    for table, values in zip(_tables(inner), made, strict=True):
        table.copy_(values)
    model.vocabulary = rows


def _tables(inner: Any) -> list[Tensor]:
    """Each table with a row for each token, once: of the embedding, and of the head with its bias."""
    read, said = inner.get_input_embeddings(), inner.get_output_embeddings()
    found = [read.weight]
    if said is not None and said.weight is not read.weight:
        found.append(said.weight)
    if getattr(said, "bias", None) is not None:
        found.append(said.bias)
    if isinstance(getattr(inner, "final_logits_bias", None), Tensor):  # (1, V)
        found.append(inner.final_logits_bias[0])
    return found
