"""Bits per byte against brute force: every byte once, whatever the batch, the padding or the order."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from yanmo.inference.likelihood import STRETCH, score_documents, score_tokens
from yanmo.models.base import Inputs, LanguageModel, Output, StateSpec
from yanmo.models.ngram import NgramModel
from yanmo.models.recurrent import LstmModel
from yanmo.models.transformer import TransformerModel
from yanmo.tasks.language_modeling import LanguageModeling, document, windows
from yanmo.text.characters import CharacterTokenizer

TEXTS = [
    "Call me Ishmael. Some years ago—never mind how long precisely—having little money in my purse.",
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。",
    "🐋", "e\u0301 naïve 研墨 mixed 🖌️ scripts", "a", "却说曹操", "x" * 200, "<|endoftext|> is text here",
]  # fmt: skip


class TinyModel(LanguageModel):
    """A GRU that knows its place: positions count from 0 in each row, so that a wrong window start changes the logits."""

    def __init__(self, vocabulary: int, context: int | None):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.vocabulary, self.context, self.width = vocabulary, context, 16
        self.embed, self.place = nn.Embedding(vocabulary, 16), nn.Embedding(4096, 16)
        self.memory, self.head = nn.GRU(16, 16, batch_first=True), nn.Linear(16, vocabulary)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=rng)

    def state(self):
        return {"keys": StateSpec((1,), torch.float32, per_token=True)}  # so that it is read in windows

    def forward(self, inputs: Inputs, slots=None, *, select=None, reduce=None) -> Output:
        assert self.context is None or inputs.tokens.shape[1] <= self.context
        hidden = self.embed(inputs.tokens) + self.place(torch.arange(inputs.tokens.shape[1]))
        hidden = self.memory(hidden)[0]
        logits = self.head(hidden[select] if select is not None else hidden)
        if reduce is None:
            return Output(logits)
        flat = logits.reshape(-1, self.vocabulary)
        return Output(
            reduced=torch.cat([reduce(flat[i : i + 7], torch.arange(len(flat))[i : i + 7]) for i in range(0, len(flat), 7)])
        )


@pytest.fixture(scope="module")
def tokenizer():
    return CharacterTokenizer(type="characters", min_count=2).train(TEXTS)


def brute_force(model: TinyModel, tokenizer, content: str) -> float:
    """Token by token, each in a forward pass of its own, over the window that first reaches it."""
    ids = [tokenizer.eos_id, *tokenizer.encode(content)]
    context, total = model.context or 10**9, 0.0
    start = 0
    for target in range(1, len(ids)):
        while target > start + context:
            start += max(context // 2, 1)
        with torch.no_grad():
            logits = model(Inputs(torch.tensor([ids[start:target]]))).logits[0, -1]
        total -= float(logits.double().log_softmax(-1)[ids[target]])
    return total


@pytest.mark.parametrize("context", [None, 1, 2, 7, 16, 64])
def test_every_token_is_scored_once_with_the_right_context(tokenizer, context):
    model = TinyModel(tokenizer.size, context)
    found = score_documents(model, tokenizer, TEXTS)
    assert found.nats == pytest.approx([brute_force(model, tokenizer, content) for content in TEXTS], abs=2e-4)
    assert found.tokens.tolist() == [len(tokenizer.encode(content)) for content in TEXTS]
    assert found.bytes.tolist() == [len(content.encode()) for content in TEXTS]
    expected = found.nats.sum() / math.log(2) / sum(len(content.encode()) for content in TEXTS)
    assert found.bits_per_byte == pytest.approx(expected)
    assert found.perplexity == pytest.approx(math.exp(found.nats.sum() / found.tokens.sum()))


@pytest.mark.parametrize("context", [None, 16])
def test_neither_batch_nor_order_nor_company_changes_a_document(tokenizer, context):
    model = TinyModel(tokenizer.size, context)
    alone = [score_documents(model, tokenizer, [content]).nats[0] for content in TEXTS]
    for batch_tokens in (1, 50, 100_000):
        together = score_documents(model, tokenizer, TEXTS, batch_tokens=batch_tokens).nats
        assert together == pytest.approx(alone, abs=1e-4)
    backwards = score_documents(model, tokenizer, TEXTS[::-1]).nats[::-1]
    assert backwards == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_recurrent_model_reads_whole_documents(tokenizer, rows):
    model = LstmModel(type="lstm", depth=2, width=16).build(tokenizer, torch.Generator().manual_seed(0))
    texts = [*TEXTS, "长" * 700 + "短", "ab" * 300, ""]  # longer than a stretch, and than each other
    found = score_documents(model, tokenizer, texts, batch_tokens=rows * STRETCH)
    for content, nats in zip(texts, found.nats):
        ids = torch.tensor([[tokenizer.eos_id, *tokenizer.encode(content)]])
        with torch.no_grad():
            logits = model(Inputs(ids[:, :-1])).logits.double().log_softmax(-1) if content else torch.zeros(1, 0, 1)
        assert nats == pytest.approx(-float(logits.gather(-1, ids[:, 1:, None]).sum()), abs=2e-3)


def test_an_ngram_is_looked_up(tokenizer, tmp_path):
    ids = np.concatenate([[tokenizer.eos_id, *tokenizer.encode(content)] for content in TEXTS]).astype(np.uint16)
    model = NgramModel(type="ngram", order=4).fit(SimpleNamespace(tokens=ids), tokenizer, tmp_path)
    found = score_documents(model, tokenizer, TEXTS)
    for content, nats in zip(TEXTS, found.nats):
        row = torch.tensor([[tokenizer.eos_id, *tokenizer.encode(content)]])
        logits = model(Inputs(row[:, :-1])).logits.double()
        assert nats == pytest.approx(-float(logits.gather(-1, row[:, 1:, None]).sum()), rel=1e-4)


def test_a_shorter_context_can_be_asked_for_and_progress_counts_every_token(tokenizer):
    model = TinyModel(tokenizer.size, 64)
    ids = [np.array([tokenizer.eos_id, *tokenizer.encode(content)]) for content in TEXTS]
    counted = []
    nats = score_tokens(model, ids, context=8, advance=counted.append)
    assert sum(counted) == sum(len(i) - 1 for i in ids)
    assert nats == pytest.approx(score_tokens(TinyModel(tokenizer.size, 8), ids), abs=1e-4)


def test_the_model_is_left_in_the_mode_it_was_in(tokenizer):
    model = TinyModel(tokenizer.size, 8)
    for mode in (True, False):
        model.train(mode)
        score_documents(model, tokenizer, TEXTS[:1])
        assert model.training is mode


def test_no_documents_and_documents_without_tokens(tokenizer):
    model = TinyModel(tokenizer.size, 8)
    nothing = score_documents(model, tokenizer, [])
    assert len(nothing.nats) == 0
    assert math.isnan(nothing.bits_per_byte)
    assert score_documents(model, tokenizer, [""]).nats.tolist() == [0.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_gives_the_same_figures(tokenizer):
    for model in (LstmModel(type="lstm", depth=1, width=16).build(tokenizer, torch.Generator().manual_seed(0)),
                  TransformerModel(type="transformer", depth=2, width=32, heads=2).build(tokenizer, torch.Generator().manual_seed(0), context=16)):  # fmt: skip
        expected = score_documents(model, tokenizer, TEXTS).nats
        assert score_documents(model.cuda(), tokenizer, TEXTS).nats == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("batch_tokens", [16, 4096])
def test_a_transformer_is_read_in_windows_of_its_context(tokenizer, batch_tokens):
    model = TransformerModel(type="transformer", depth=2, width=32, heads=2).build(
        tokenizer, torch.Generator().manual_seed(0), context=16
    )
    found = score_documents(model, tokenizer, TEXTS, batch_tokens=batch_tokens)
    assert found.nats == pytest.approx([brute_force(model, tokenizer, content) for content in TEXTS], rel=1e-4)


@given(tokens=st.integers(0, 300), context=st.integers(1, 64))
def test_windows_count_each_position_once_and_stride_half(tokens, context):
    counted = []
    for start, first, end in windows(tokens, context):
        assert start <= first < end <= start + context
        assert start == 0 or first - start >= context // 2  # at least half the context lies before
        counted += range(first + 1, end + 1)
    assert counted == list(range(1, tokens))


def test_the_task_encodes_the_same_windows(tokenizer):
    task = LanguageModeling()
    example = document(TEXTS[1], "x")
    rows = task.encode(example, tokenizer, 9)
    assert max(len(row.tokens) for row in rows) <= 9
    scored = [token for row in rows for token, trained in zip(row.tokens, row.trained) if trained]
    assert scored == tokenizer.encode(TEXTS[1])


def test_the_task_scores_ratios_of_sums():
    task = LanguageModeling()
    pairs = [(document("a", "x"), task.decode((math.log(2) * 3, 2, 1), document("a", "x"))),
             (document("b", "y"), task.decode((math.log(2) * 5, 2, 3), document("b", "y")))]  # fmt: skip
    assert task.score(pairs) == {"bits_per_byte": pytest.approx(2.0), "perplexity": pytest.approx(4.0), "tokens": 4, "bytes": 4}
