"""Taggers and readers: padding changes nothing, and what is saved opens elsewhere with the same scores, and comes from there."""

import json

import pytest
import torch

from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.reader import Reader
from yanmo.models.store import load, save
from yanmo.models.tagger import Tagger
from yanmo.train.optimizers.groups import freeze, groups_of, layers_of

from .test_published import DECODERS, ENCODERS, SMALL, close, made, rows

PARTS = {
    "encoder": {"type": "transformer", "architecture": "encoder", "depth": 2, "width": 32, "heads": 2},
    "decoder": {"type": "transformer", "depth": 2, "width": 32, "heads": 2},
    "bert": {"type": "bert", "depth": 2, "width": 32, "heads": 2},
    "lstm": {"type": "lstm", "depth": 1, "width": 32, "bidirectional": True},
    "gru": {"type": "gru", "depth": 1, "width": 32},
    "t5": {"type": "t5", "depth": 2, "width": 32, "heads": 2},
    "cnn": {"type": "cnn", "filters": 8},
}
LABELS = ["O", "B-人", "I-人"]
THEIRS = {
    "Bert": SMALL, "Roberta": {**ENCODERS["RobertaForMaskedLM"]}, "Llama": DECODERS["Qwen2"], "Qwen2": DECODERS["Qwen2"],
    "GPT2": DECODERS["GPT2"], "GPTNeoX": {**DECODERS["GPTNeoX"], "classifier_dropout": 0.0}, "Mistral": DECODERS["Mistral"],
    "Gemma2": DECODERS["Gemma2"], "Qwen3": DECODERS["Qwen2"], "Mixtral": DECODERS["Mixtral"],
}  # fmt: skip


def build(part, kind, tokenizer, rng):
    backbone = create("model", PARTS[part]).build(tokenizer, rng, 64)
    model = Tagger(backbone, len(LABELS)) if kind == "tag" else Reader(backbone)
    model.initialise(rng)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


@pytest.mark.parametrize("kind", ["tag", "span"])
@pytest.mark.parametrize("part", PARTS)
def test_padding_changes_nothing_and_saving_neither(part, kind, tokenizer, texts, rng, tmp_path):
    model = build(part, kind, tokenizer, rng)
    lines = [tokenizer.encode(text)[:length] for text, length in zip(texts, (9, 30))]
    tokens = torch.full((2, 40), tokenizer.pad_id)
    for line, ids in zip(tokens, lines):
        line[: len(ids)] = torch.tensor(ids)
    mask = torch.arange(40) < torch.tensor([[len(ids)] for ids in lines])
    with torch.no_grad():
        together = model(Inputs(tokens, mask=mask))
        assert together.shape == (2, 40, 3 if kind == "tag" else 2)
        for index, ids in enumerate(lines):
            alone = model(Inputs(torch.tensor([ids])))[0]
            torch.testing.assert_close(together[index, : len(ids)], alone, rtol=1e-4, atol=1e-5)
        save(tmp_path / "model", model, tokenizer, labels=LABELS if kind == "tag" else None)
        opened = load(tmp_path / "model")
        assert torch.equal(opened.model(Inputs(tokens, mask=mask))[mask], together[mask])
    assert opened.head == kind
    assert opened.labels == (LABELS if kind == "tag" else [])
    assert not opened.generates or kind == "span"
    assert not (tmp_path / "model" / "generation_config.json").exists()


@pytest.mark.parametrize("kind", ["tag", "span"])
@pytest.mark.parametrize("name", THEIRS)
def test_published_ones_open_and_ours_open_there(name, kind, hf, tmp_path):
    ending = {"tag": "ForTokenClassification", "span": "ForQuestionAnswering"}[kind]
    if name == "Gemma2" and kind == "span":
        assert not hasattr(hf, "Gemma2ForQuestionAnswering")
        return
    config = getattr(hf, f"{name}Config")(**THEIRS[name], **({"num_labels": 3} if kind == "tag" else {}))
    theirs = made(getattr(hf, f"{name}{ending}"), config, tmp_path / "theirs")
    model, (tokens, mask) = load(tmp_path / "theirs").model, rows()
    for form in ("theirs", "ours"):
        with torch.no_grad():
            given = theirs(tokens, attention_mask=mask.long())
            want = given.logits if kind == "tag" else torch.stack([given.start_logits, given.end_logits], -1)
            close(model(Inputs(tokens, mask=mask))[mask], want[mask])
        if form == "theirs":
            save(tmp_path / "ours", model, None, labels=LABELS if kind == "tag" else None)
            theirs, report = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
            assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
            theirs.eval()
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [f"{name}{ending}"]


@pytest.mark.parametrize("kind", ["tag", "span"])
def test_a_pretrained_encoder_with_its_own_heads_becomes_one(kind, hf, tmp_path, rng):
    """The pooler and the head for hidden tokens stay behind."""
    made(hf.BertForPreTraining, hf.BertConfig(**SMALL), tmp_path / "theirs")
    backbone = load(tmp_path / "theirs").model
    model = (Tagger(backbone, 3) if kind == "tag" else Reader(backbone)).eval()
    model.initialise(rng)
    save(tmp_path / "ours", model, None, labels=LABELS if kind == "tag" else None)
    auto = hf.AutoModelForTokenClassification if kind == "tag" else hf.AutoModelForQuestionAnswering
    theirs = auto.from_pretrained(tmp_path / "ours").eval()
    tokens, mask = rows()
    types = (torch.arange(40) > 8).long().expand(3, 40)
    with torch.no_grad():
        given = theirs(tokens, attention_mask=mask.long(), token_type_ids=types)
        want = given.logits if kind == "tag" else torch.stack([given.start_logits, given.end_logits], -1)
        close(load(tmp_path / "ours").model(Inputs(tokens, mask=mask, types=types))[mask], want[mask])


@pytest.mark.parametrize("kind", ["tag", "span"])
@pytest.mark.parametrize("part", ["encoder", "bert", "lstm"])
def test_the_head_stands_on_top_and_learns_alone_where_the_rest_is_frozen(part, kind, tokenizer, rng):
    model = build(part, kind, tokenizer, rng)
    layers = layers_of(model)
    assert layers["backbone.embedding.weight"] == 0
    assert layers[f"{model.layer}.weight"] == layers[f"{model.layer}.bias"] == max(layers.values()) >= 2
    shares = {group.share for group in groups_of(model, 0.5)}
    assert max(shares) == 1.0
    assert min(shares) == 0.5 ** max(layers.values())
    freeze(model, ["backbone.*"])
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {f"{model.layer}.weight", f"{model.layer}.bias"}
    before = {name: p.clone() for name, p in model.named_parameters()}
    model(Inputs(torch.tensor([tokenizer.encode("话说天下")]))).square().sum().backward()
    create("optimizer", {"type": "adamw", "lr": 0.1}).make(model).step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved <= {f"{model.layer}.weight", f"{model.layer}.bias"} != set()
