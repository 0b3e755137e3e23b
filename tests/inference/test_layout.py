"""Other layouts of the same weights: the same numbers, shapes and names."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.inference.tiny import model, tokenizer
from yanmo.inference.engine import Engine, Request
from yanmo.inference.layout import PackedLinear, for_decoding
from yanmo.inference.sampling import sampling
from yanmo.models.base import Inputs


@pytest.fixture(params=[1, 8])
def laid(request):
    made = copy.deepcopy(model("transformer"))
    for_decoding(made, request.param)
    return made


def test_nothing_that_can_be_named_has_changed(laid):
    plain = model("transformer")
    assert list(laid.state_dict()) == list(plain.state_dict())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(laid.state_dict()[name], tensor)
    assert sum(p.numel() for p in laid.parameters()) == sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 1), (8, 1), (5, 40)])
def test_the_logits_are_the_same(laid, shape):
    tokens = torch.arange(shape[0] * shape[1]).view(shape) % 400
    with torch.no_grad():
        assert torch.allclose(laid(Inputs(tokens)).logits, model("transformer")(Inputs(tokens)).logits, atol=2e-4)
    assert laid(Inputs(tokens)).logits.requires_grad  # gradients go the plain way


def test_the_engine_says_the_same(laid):
    requests = [Request([1, 40 + k, 7], sampling(max_tokens=20, temperature=(k % 2) * 1.0, seed=k)) for k in range(6)]
    expected = Engine(model("transformer"), tokenizer(), slots=1).complete(requests)
    assert [c.ids for c in Engine(laid, tokenizer(), slots=4).complete(requests)] == [c.ids for c in expected]


def test_a_tied_head_is_laid_out_with_the_rest(laid):
    tied = laid.head is None
    assert laid.embedding.weight.is_contiguous() == (not tied)
    assert not laid.stack.blocks[0].mlp.down.weight.is_contiguous()


def test_what_is_not_float32_stays_as_it_is():
    made = copy.deepcopy(model("transformer")).to(torch.bfloat16)
    for_decoding(made, 8)
    assert not any(isinstance(module, PackedLinear) for module in made.modules())
    assert all(p.is_contiguous() for p in made.parameters())
