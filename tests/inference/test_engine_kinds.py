"""Continuous batching gives every kind of model the tokens that each request gets alone: requests of different lengths that
join and leave a small engine, against one engine each; and against the plain loop that reads the whole row again."""

import pytest
import torch

import yanmo
from tests.inference.tiny import TEXTS, tokenizer
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.inference.engine import Engine, Request
from yanmo.inference.sampling import sampling
from yanmo.models.base import Inputs
from yanmo.models.store import save

SIZES = {"depth": 2, "width": 48, "heads": 4, "context": 96}
KINDS = {
    "windows": {"attention": {"window": 5, "sinks": 2}},
    "gemma": {"norm": {"type": "rms", "offset": True}, "norm_at": "sandwich", "mlp": "geglu", "embedding": {"scale": True},
              "attention": {"window": 6, "full_every": 2, "softcap": 20.0}, "head": {"softcap": 15.0}},
    "parallel": {"norm": "layer", "norm_at": "parallel", "mlp": "gelu", "bias": "all", "qk_norm": False},
    "alibi": {"position": "alibi"},
    "learned": {"position": "learned", "norm": "layer", "mlp": "gelu_tanh", "bias": "all", "qk_norm": False},
    "experts": {"mlp": {"type": "experts", "experts": 4}, "mlp_width": 32},
    "permuted": {"architecture": "encoder", "embedding": {"query": True}},
    "t5": {"type": "t5"},
    "bart": {"type": "bart"},
}  # fmt: skip


def made(kind):
    part = create("model", {"type": "transformer", **SIZES, **KINDS[kind]})
    model = part.build(tokenizer(), torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= 5
    return model


def requests(model):
    tok = tokenizer()
    two = model.kind == "encoder-decoder"
    settings = [sampling(max_tokens=n, temperature=t, seed=s) for n, t, s in ((18, 0.0, 0), (5, 0.9, 1), (24, 0.7, 2), (9, 0.0, 0), (14, 1.0, 5))]
    found = []
    for line, one in zip(TEXTS[3:], settings):
        ids = tok.encode(line)[: 8 + one.max_tokens]
        found.append(Request([tok.pad_id, *ids[:2]], one, [*ids, tok.eos_id]) if two else Request([tok.eos_id, *ids], one))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_together_and_alone_give_the_same_tokens(kind):
    model = made(kind)
    together = Engine(model, tokenizer(), slots=3, chunk=8).complete(requests(model))
    for request, found in zip(requests(model), together, strict=True):
        [alone] = Engine(model, tokenizer(), slots=1, chunk=64).complete([request])
        assert found.ids == alone.ids
    assert len({tuple(found.ids) for found in together}) == len(together)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_are_those_of_the_whole_row_read_again(kind):
    model = made(kind)
    request = requests(model)[0]
    [found] = Engine(model, tokenizer(), slots=2).complete([request])
    row = list(request.ids)
    with torch.no_grad():
        for token in found.ids:
            source = None if request.source is None else Inputs(torch.tensor([request.source]))
            assert int(model(Inputs(torch.tensor([row]), source=source)).logits[0, -1, : tokenizer().size].argmax()) == token
            row.append(token)


def test_a_saved_encoder_decoder_answers_a_text(tmp_path):
    model = made("t5")
    save(tmp_path / "m", model, tokenizer())
    opened = yanmo.load(tmp_path / "m")
    assert opened.abilities == ["generate", "tokenize", "embed"]
    first = opened.generate(TEXTS[0], temperature=0, max_tokens=12)
    assert first != opened.generate("研墨是写字之前的功夫。", temperature=0, max_tokens=12)
    tok = tokenizer()
    ids = tok.encode(TEXTS[0])
    logits = opened.logits([tok.pad_id], source=ids)
    assert logits.shape == (1, tok.size)
    with torch.no_grad():
        want = model(Inputs(torch.tensor([[tok.pad_id]]), source=Inputs(torch.tensor([ids])))).logits[0]
    torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-5)
    assert opened.embed([TEXTS[0], "研墨", ""]).shape == (3, 48)
    for ids, source in (([1], None), ([1], []), ([1], [tok.size]), ([tok.size], [1])):
        with pytest.raises(RequestError):
            opened.logits(ids, source=source)


@pytest.mark.parametrize(("kind", "source", "said"), [("t5", None, "source: expected one, got none"), ("t5", [], "token ids from 0"),
                                                      ("t5", [5] * 97, "at most 96 tokens"), ("alibi", [5], "source: expected none, got one")])  # fmt: skip
def test_a_source_where_it_belongs_and_nowhere_else(kind, source, said):
    engine = Engine(made(kind), tokenizer(), slots=1)
    with pytest.raises(RequestError) as caught:
        engine.submit(Request([1], sampling(max_tokens=2), source))
    assert said in caught.value.render("en")


def test_a_masked_model_does_not_generate():
    part = create("model", {"type": "bert", **SIZES})
    model = part.build(tokenizer(), torch.Generator().manual_seed(3)).eval()
    with pytest.raises(RequestError, match="left to right"):
        Engine(model, tokenizer())
