"""Next-token prediction: rows, packing, and the loss against the plain definition."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from yanmo.core.data import Row
from yanmo.core.errors import RecipeError
from yanmo.core.registry import create
from yanmo.objectives.base import Context
from yanmo.text.characters import CharacterTokenizer

ENGLISH = "Call me Ishmael. Some years ago 🐋, never mind how long precisely."
CHINESE = "话说天下大势，分久必合，合久必分。e\u0301té 模型"
SMALL = {"transformer": {"depth": 2, "width": 32, "heads": 2}, "lstm": {"depth": 1, "width": 32}}


@pytest.fixture(scope="module")
def tokenizer():
    return CharacterTokenizer(min_count=1).train([ENGLISH, CHINESE])


@pytest.fixture
def causal(tokenizer):
    return lambda **settings: create("objective", {"type": "causal", **settings}).bind(Context(tokenizer))


@pytest.fixture(params=SMALL)
def model(request, tokenizer):
    rng = torch.Generator().manual_seed(0)
    made = create("model", {"type": request.param, **SMALL[request.param]}).build(tokenizer, rng, 64)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return made


@pytest.fixture(scope="module")
def packed(tokenizer):
    """Two documents in one row, the border of each before it."""
    return Row([1, *tokenizer.encode(ENGLISH)[:20], 1, *tokenizer.encode(CHINESE)[:20]])


def test_targets_are_the_next_tokens(causal, packed):
    batch = causal().collate([packed], torch.Generator())
    assert batch.inputs.tokens.tolist() == [packed.tokens[:-1]]
    assert batch.targets.tolist() == [packed.tokens[1:]]
    assert batch.weight == len(packed.tokens) - 1
    assert batch.inputs.mask is None


def test_short_rows_are_padded_and_padding_is_not_trained_on(causal, packed):
    rows = [packed, Row(packed.tokens[:7])]
    batch = causal().collate(rows, torch.Generator())
    assert batch.weights.sum(1).tolist() == [len(packed.tokens) - 1, 6]
    assert batch.inputs.mask.sum(1).tolist() == [len(packed.tokens) - 1, 6]
    assert (batch.inputs.tokens[1, 6:] != 1).any() or (batch.inputs.tokens[1, 7:] == 0).all()


def test_padding_is_known_by_length_not_by_id(causal, model):
    """A text may hold the padding id as an ordinary target, and the border that ends it is trained on."""
    row = Row([1, 7, 0, 8, 1])
    batch = causal().collate([row, Row([1] * 9)], torch.Generator())
    assert batch.weights[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_only_the_marked_tokens_are_trained_on(causal, packed, model):
    marked = [i % 3 == 0 for i in range(len(packed.tokens))]
    row = Row(packed.tokens, trained=marked)
    objective = causal()
    batch = objective.collate([row], torch.Generator())
    assert batch.weight == sum(marked[1:])
    found = objective.loss(model, batch)
    logits = model(batch.inputs).logits[0].detach()
    want = sum(float(F.cross_entropy(logits[i - 1], torch.tensor(packed.tokens[i]))) for i in range(1, len(marked)) if marked[i])
    assert float(found.total.detach()) == pytest.approx(want, rel=1e-5)


def test_the_loss_and_its_gradient_are_those_of_whole_logits(causal, packed, model):
    objective = causal()
    rows = [packed, Row(packed.tokens[5:20]), Row(packed.tokens[::-1])]
    batch = objective.collate(rows, torch.Generator())
    found = objective.loss(model, batch)
    found.total.backward()
    slopes = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    losses = F.cross_entropy(model(batch.inputs).logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    losses = losses.view(batch.targets.shape) * batch.weights
    losses.sum().backward()
    assert float(found.total.detach()) == pytest.approx(float(losses.detach().sum()), rel=1e-5)
    assert float(found.weight) == batch.weight
    torch.testing.assert_close(found.rows, losses.detach().sum(1) / batch.weights.sum(1), rtol=1e-4, atol=1e-5)
    for slope, parameter in zip(slopes, model.parameters()):
        torch.testing.assert_close(slope, parameter.grad, rtol=1e-3, atol=1e-5)


def losses_of(model, objective, row):
    batch = objective.collate([row], torch.Generator())
    targets = batch.targets.reshape(-1)
    with torch.no_grad():
        return model(batch.inputs, reduce=lambda logits, at: F.cross_entropy(logits, targets[at], reduction="none")).reduced


def test_packed_documents_do_not_see_each_other(causal, packed, model):
    """One token of the first document changes: nothing in the second one may. Without isolation, it does."""
    other = Row([*packed.tokens[:9], packed.tokens[9] ^ 1, *packed.tokens[10:]])
    isolated, mixed = causal(), causal(isolate=False)
    before, after = losses_of(model, isolated, packed), losses_of(model, isolated, other)
    assert not torch.allclose(before[8:20], after[8:20])
    torch.testing.assert_close(before[21:], after[21:], rtol=0, atol=1e-6)
    before, after = losses_of(model, mixed, packed), losses_of(model, mixed, other)
    assert (before[21:] - after[21:]).abs().max() > 1e-5


def test_a_document_alone_has_the_loss_that_it_has_packed(causal, packed, model, tokenizer):
    alone = Row([1, *tokenizer.encode(CHINESE)[:20]])
    torch.testing.assert_close(losses_of(model, causal(), packed)[21:], losses_of(model, causal(), alone), rtol=1e-4, atol=1e-5)


def test_rows_of_one_document_take_the_fast_path(causal, packed):
    assert causal().collate([Row([1, 5, 6, 7, 8, 1])], torch.Generator()).inputs.documents is None  # a border only as target
    assert causal().collate([packed], torch.Generator()).inputs.documents.unique().tolist() == [1, 2]
    assert causal(isolate=False).collate([packed], torch.Generator()).inputs.documents is None
    middle = causal().collate([Row([5, 6, 1, 7, 8])], torch.Generator())  # the end of one document, the begin of another
    assert middle.inputs.documents.tolist() == [[0, 0, 1, 1]]


def test_rows_may_be_views_of_the_token_file(causal, tokenizer):
    tokens = np.array([1, *tokenizer.encode(CHINESE)], np.uint16)
    first = causal().collate([Row(tokens[:12])], torch.Generator())
    second = causal().collate([Row(tokens[:12].tolist())], torch.Generator())
    assert torch.equal(first.inputs.tokens, second.inputs.tokens)
    assert first.inputs.tokens.dtype == torch.int64


def test_the_loss_of_an_even_guess_is_the_logarithm_of_the_vocabulary(causal, packed, model, tokenizer):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    objective = causal()
    found = objective.loss(model, objective.collate([packed], torch.Generator()))
    assert float(found.total.detach() / found.weight) == pytest.approx(math.log(tokenizer.size), rel=1e-6)


def test_a_context_must_hold_two_tokens():
    with pytest.raises(RecipeError, match=r"objective.context: expected a number above 1"):
        create("objective", {"type": "causal", "context": 1})


def test_experts_used_unevenly_cost_beside_the_loss(tokenizer, causal, packed):
    """The penalty is per token of the batch, so that two micro-batches of one row each weigh as one of two."""
    part = create("model", {"type": "transformer", **SMALL["transformer"], "mlp": {"type": "experts", "experts": 4, "balance": 0.5}, "mlp_width": 16})
    model = part.build(tokenizer, torch.Generator().manual_seed(0), 64).train()
    objective = causal()
    batch = objective.collate([packed, packed], torch.Generator())
    loss, plain = objective.loss(model, batch), objective.loss(model.eval(), batch)
    amount, weight = loss.metrics["penalty"]
    assert amount / weight == pytest.approx(0.5 * 2, rel=0.2)  # about 1 a layer
    assert loss.total.item() == pytest.approx((plain.total + amount).item(), rel=1e-5)
    assert "penalty" not in plain.metrics
