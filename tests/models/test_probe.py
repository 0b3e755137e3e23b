"""The perturbation probe: it passes models that keep documents apart, and sees it where one does not."""

import pytest
import torch

from tests.inference import tiny
from yanmo.core.errors import RequestError
from yanmo.models.base import Inputs, Output
from yanmo.models.probe import isolation
from yanmo.models.transformer import TransformerModel
from yanmo.nn import packed

SMALL = {"depth": 2, "width": 48, "heads": 4, "kv_heads": 2, "context": 64}
KINDS = {
    "decoder": {},
    "window": {"attention": {"window": 4, "sinks": 2}},
    "some windows": {"attention": {"window": 3, "full_every": 2}},
    "alibi": {"position": "alibi"},
    "relative": {"position": "relative"},
    "learned": {"position": "learned"},
    "softcap": {"attention": {"softcap": 5.0}},
    "encoder": {"architecture": "encoder"},
    "permuted": {"architecture": "encoder", "embedding": {"query": True}},
    "experts": {"mlp": {"type": "experts", "experts": 4}, "mlp_width": 32},
}  # fmt: skip


def build(fields):
    model = TransformerModel(**SMALL | fields).build(tiny.tokenizer(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_documents_of_a_packed_row_do_not_see_each_other(kind, one_by_one, monkeypatch):
    monkeypatch.setattr(packed, "WORTH", 1e9 if one_by_one else 0.0)
    model = build(KINDS[kind]).train()
    found = isolation(model)
    assert found.holds, found
    assert model.training


@pytest.mark.parametrize("kind", ["ngram", "lstm", "transformer"])
def test_every_kind_of_model_can_be_asked(kind):
    assert isolation(tiny.model(kind)).holds


def test_a_leak_is_seen(monkeypatch):
    model = build({})
    plain = model.forward
    monkeypatch.setattr(model, "forward", lambda inputs, **rest: plain(Inputs(inputs.tokens), **rest))
    found = isolation(model)
    assert not found.holds
    assert found.leaked > 1e-3


def test_a_probe_that_sees_nothing_move_proves_nothing(monkeypatch):
    model = build({})
    monkeypatch.setattr(model, "forward", lambda inputs: Output(torch.ones(*inputs.tokens.shape, model.vocabulary)))
    assert not isolation(model).holds


def test_an_encoder_decoder_is_refused():
    with pytest.raises(RequestError, match="packed rows"):
        isolation(build({"architecture": "encoder-decoder"}))
