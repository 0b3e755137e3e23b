"""Rows for new tokens: means of the old ones, and everything else as it was, bit for bit."""

from __future__ import annotations

import pytest
import torch

from tests.text.test_extend import CHINESE, DOMAIN, ENGLISH, english, extended
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.growth import grow
from yanmo.models.store import load, save
from yanmo.text.extend import spelling

SMALL = {"depth": 2, "width": 32, "heads": 2, "context": 64}
PARTS = {
    "llama tied": {"type": "transformer", "qk_norm": False, **SMALL},
    "qwen3 untied": {"type": "transformer", "tie": False, **SMALL},
    "ours": {"type": "transformer", "mlp": "relu2", **SMALL},
    "bert": {"type": "bert", **SMALL},
    "t5": {"type": "t5", **SMALL},
    "bart": {"type": "bart", **SMALL},
    "lstm": {"type": "lstm", "depth": 1, "width": 32},
    "gru untied": {"type": "gru", "depth": 1, "width": 32, "tie": False},
}
BASE = english()
MADE = extended(BASE, DOMAIN, add=30)
SPELLED = spelling(BASE, MADE)


def fresh(name: str, vocabulary=BASE):
    model = create("model", PARTS[name]).build(vocabulary, torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases are zero in a fresh one
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def inputs(ids: list[int], model) -> Inputs:
    tokens = torch.tensor([ids])
    source = Inputs(tokens) if model.kind == "encoder-decoder" else None
    return Inputs(tokens, source=source)


def tables(model) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.shape[0] == model.vocabulary}


@pytest.mark.parametrize("name", PARTS)
@torch.no_grad()
def test_old_texts_have_the_same_logits_and_new_rows_are_means(name):
    ids = MADE.encode(ENGLISH)[:50]
    assert ids == BASE.encode(ENGLISH)[:50]
    model = fresh(name)
    before = model(inputs(ids, model))
    old = {name: table.clone() for name, table in tables(model).items()}
    assert old
    grow(model, BASE.size, SPELLED)
    after = model(inputs(ids, model))
    assert torch.equal(after.hidden, before.hidden)
    assert torch.equal(after.logits[..., : BASE.size], before.logits)
    assert model.vocabulary == MADE.size == after.logits.shape[-1]
    for key, table in tables(model).items():
        assert torch.equal(table[: BASE.size], old[key]), key
        for number, pieces in enumerate(SPELLED):
            assert torch.allclose(table[BASE.size + number], old[key][pieces].mean(0), atol=1e-6), key


@pytest.mark.parametrize("name", PARTS)
@torch.no_grad()
def test_a_longer_model_is_saved_and_opened_as_it_is(name, tmp_path):
    model = fresh(name)
    family = model.family
    grow(model, BASE.size, SPELLED)
    assert model.family == family
    save(tmp_path, model, MADE)
    again = load(tmp_path)
    assert again.tokenizer.size == again.model.vocabulary == MADE.size
    ids = MADE.encode(CHINESE)[:40]
    assert max(ids) >= BASE.size
    assert torch.equal(again.model(inputs(ids, model)).logits, model(inputs(ids, model)).logits)


@torch.no_grad()
def test_rows_that_no_token_has_are_used_first():
    """A table is often longer than the tokenizer: published ones are rounded up."""
    from types import SimpleNamespace

    padded = SimpleNamespace(size=BASE.size + 12)
    model = fresh("llama tied", padded)
    grow(model, BASE.size, SPELLED[:10])
    assert model.vocabulary == BASE.size + 12
    assert torch.equal(model.embedding.weight[BASE.size], model.embedding.weight[SPELLED[0]].mean(0))
    grow(model, BASE.size, SPELLED)
    assert model.vocabulary == BASE.size + 30


@torch.no_grad()
def test_transformers_opens_it_and_gives_the_same_logits(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is a development dependency")
    transformers.logging.disable_progress_bar()
    for name in ("llama tied", "qwen3 untied"):
        model = fresh(name)
        grow(model, BASE.size, SPELLED)
        save(tmp_path / name, model, MADE)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        ids = tokenizer.encode(CHINESE, add_special_tokens=False)[:60]
        assert ids == MADE.encode(CHINESE)[:60]
        assert torch.allclose(theirs(torch.tensor([ids])).logits, model(inputs(ids, model)).logits, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_a_model_of_transformers_grows_too(tied, tmp_path):
    """Olmo2 is no family of ours."""
    transformers = pytest.importorskip("transformers", reason="transformers is a development dependency")
    transformers.logging.disable_progress_bar()
    config = transformers.Olmo2Config(vocab_size=BASE.size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                      intermediate_size=48, max_position_embeddings=96, pad_token_id=0, bos_token_id=1, eos_token_id=1,
                                      tie_word_embeddings=tied)  # fmt: skip
    torch.manual_seed(0)
    transformers.Olmo2ForCausalLM(config).save_pretrained(tmp_path / "m")
    BASE.save(tmp_path / "m")
    model = load(tmp_path / "m").model
    ids = MADE.encode(ENGLISH)[:50]
    before = model(inputs(ids, model)).logits
    old = model.inner.get_output_embeddings().weight.clone()
    grow(model, BASE.size, SPELLED)
    after = model(inputs(ids, model)).logits
    assert torch.equal(after[..., : BASE.size], before)
    head = model.inner.get_output_embeddings().weight
    assert (head is model.inner.get_input_embeddings().weight) == tied
    assert all(torch.allclose(head[BASE.size + n], old[pieces].mean(0), atol=1e-6) for n, pieces in enumerate(SPELLED))
    save(tmp_path / "made", model, MADE)
    again = load(tmp_path / "made")
    assert torch.equal(again.model(inputs(MADE.encode(CHINESE)[:40], model)).logits, model(inputs(MADE.encode(CHINESE)[:40], model)).logits)
    opened = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    assert opened.config.vocab_size == MADE.size


@torch.no_grad()
def test_a_model_out_of_a_gguf_file_grows_as_any_other(tmp_path):
    pytest.importorskip("gguf", reason="gguf is a development dependency")
    from yanmo.stages.export import export

    model = fresh("llama tied")
    save(tmp_path / "m", model, BASE)
    export(tmp_path / "m", "gguf", tmp_path / "g")
    opened = load(tmp_path / "g")
    ids = MADE.encode(ENGLISH)[:50]
    before = opened.model(inputs(ids, model)).logits
    grow(opened.model, BASE.size, SPELLED)
    assert torch.equal(opened.model(inputs(ids, model)).logits[..., : BASE.size], before)


def test_a_model_that_counts_has_no_rows():
    from tests.inference.tiny import model

    with pytest.raises(RequestError, match="expected a model with a table of tokens"):
        grow(model("ngram"), 400, [[5]])
