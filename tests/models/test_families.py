"""What we save, `transformers` opens and computes alike; what it saves, we open and compute alike."""

import json

import pytest
import torch

from yanmo.core.errors import DataError
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier
from yanmo.models.store import load, save
from yanmo.models.transformer import TransformerModel
from yanmo.nn.state import DenseSlots

SIZES = {"depth": 3, "width": 48, "heads": 4, "kv_heads": 2, "head_size": 16, "mlp_width": 80}
CASES = {
    "Qwen3ForCausalLM": {"position": {"type": "rotary", "theta": 50_000.0}},
    "Qwen3ForCausalLM untied": {"tie": False, "norm": {"type": "rms", "eps": 1e-5}},
    "LlamaForCausalLM": {"qk_norm": False},
    "LlamaForCausalLM yarn": {"qk_norm": False, "position": {"type": "rotary", "scaling": {"type": "yarn", "factor": 4.0, "trained": 16}}},
    "LlamaForCausalLM llama3": {"qk_norm": False, "position": {"type": "rotary", "scaling": {"type": "llama3", "factor": 4.0, "trained": 16}}},
    "LlamaForCausalLM linear": {"qk_norm": False, "position": {"type": "rotary", "scaling": {"type": "linear", "factor": 3.0}}},
    "Qwen2ForCausalLM": {"qk_norm": False, "bias": "qkv"},
    "LlamaForCausalLM untied": {"qk_norm": False, "tie": False, "kv_heads": 4, "position": {"type": "rotary", "theta": 500.0}},
}


def shaken(model):
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


def build(tokenizer, **fields):
    return shaken(TransformerModel(**{**SIZES, **fields}).build(tokenizer, torch.Generator().manual_seed(0), 48))


def rows(tokenizer):
    rng = torch.Generator().manual_seed(2)
    mask = torch.arange(40) < torch.tensor([[40], [11], [26]])
    return torch.randint(4, tokenizer.size, (3, 40), generator=rng).masked_fill(~mask, tokenizer.pad_id), mask


@pytest.mark.parametrize("case", CASES)
def test_transformers_opens_what_we_save(case, hf, tokenizer, tmp_path):
    model = build(tokenizer, **CASES[case])
    save(tmp_path / "model", model, tokenizer)
    theirs = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    assert type(theirs).__name__ == case.split()[0]
    tokens, mask = rows(tokenizer)
    with torch.no_grad():
        ours = model(Inputs(tokens, mask=mask)).logits
        want = theirs(tokens, attention_mask=mask.long()).logits
        assert (ours - want)[mask].abs().max() < 1e-4
        slots = DenseSlots(model.state(), 3, 48)  # prompt and then token by token, against their whole row
        done = [0, 0, 0]
        for counts in ([17, 5, 9], *[[1, 1, 1]] * 6, [17, 0, 11]):
            chunk = torch.zeros(3, max(counts), dtype=torch.int64)
            for row, count in enumerate(counts):
                chunk[row, :count] = tokens[row, done[row] : done[row] + count]
            real = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
            cached = model(Inputs(chunk, mask=real), slots).logits
            slots.advance(counts)
            for row, count in enumerate(counts):
                assert count == 0 or (cached[row, :count] - want[row, done[row] : done[row] + count]).abs().max() < 1e-4
                done[row] += count
    assert done == [40, 11, 26]
    assert theirs.generation_config.pad_token_id == tokenizer.pad_id
    assert theirs.generation_config.eos_token_id == [tokenizer.eos_id, tokenizer.special["<|im_end|>"]]


def test_transformers_generates_what_we_do(hf, tokenizer, texts, tmp_path):
    model = build(tokenizer)
    save(tmp_path / "model", model, tokenizer)
    theirs = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    words = hf.AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in texts:
        ids = tokenizer.encode(text)[:8]
        assert words(text, add_special_tokens=False)["input_ids"][:8] == ids
        want = theirs.generate(torch.tensor([ids]), attention_mask=torch.ones(1, 8).long(), do_sample=False,
                               max_new_tokens=12, eos_token_id=-1)[0].tolist()  # fmt: skip
        slots, got = DenseSlots(model.state(), 1, 48), list(ids)
        with torch.no_grad():
            fresh = torch.tensor([ids])
            for _ in range(12):
                logits = model(Inputs(fresh), slots).logits
                slots.advance(fresh.shape[1])
                fresh = logits[:, -1:].argmax(-1)
                got.append(int(fresh))
        assert got == want


@pytest.mark.parametrize("qk_norm", [True, False])
def test_transformers_labels_what_we_do(qk_norm, hf, tokenizer, tmp_path, rng):
    classifier = Classifier(build(tokenizer, qk_norm=qk_norm, tie=False), 4)
    classifier.initialise(rng)
    save(tmp_path / "model", shaken(classifier), tokenizer, labels=["开灯", "关灯", "weather", "other"])
    theirs = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    assert type(theirs).__name__ == ("Qwen3ForSequenceClassification" if qk_norm else "LlamaForSequenceClassification")
    assert theirs.config.id2label == {0: "开灯", 1: "关灯", 2: "weather", 3: "other"}
    tokens, mask = rows(tokenizer)
    with torch.no_grad():
        want = theirs(tokens, attention_mask=mask.long()).logits
        assert (classifier(Inputs(tokens, mask=mask)) - want).abs().max() < 1e-4
        opened = load(tmp_path / "model")
        assert opened.labels == ["开灯", "关灯", "weather", "other"]
        assert torch.equal(opened.model(Inputs(tokens, mask=mask)), classifier(Inputs(tokens, mask=mask)))


@pytest.mark.parametrize("name", ["Qwen3", "Llama"])
@pytest.mark.parametrize("tie", [True, False])
def test_we_open_what_transformers_saves(name, tie, hf, tmp_path):
    config = getattr(hf, f"{name}Config")(
        vocab_size=90, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=56, max_position_embeddings=64, tie_word_embeddings=tie,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = shaken(getattr(hf, f"{name}ForCausalLM")(config))
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    tokens = torch.randint(0, 90, (2, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = theirs(tokens).logits
        for form in ("whole", "parts"):
            opened = load(tmp_path / form)
            assert opened.tokenizer is None
            assert (opened.model(Inputs(tokens)).logits - want).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}, "rope_parameters: expected one of default, linear"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "mscale": 1.0}}, "mscale: expected one of None"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1.0}}, "rope_parameters: expected a 'factor', got none"),
        ({"attention_bias": True}, "attention_bias: expected one of False, got True"),
        ({"hidden_act": "gelu"}, "hidden_act: expected one of silu, swish, got gelu"),
        ({"use_sliding_window": True}, "use_sliding_window: expected one of False, got True"),
        ({"hidden_size": None}, "expected a 'hidden_size', got none"),
        ({"num_key_value_heads": 3}, "sizes that fit together"),
        ({"architectures": ["Qwen3ForMultipleChoice"]}, "got Qwen3ForMultipleChoice"),
    ],
)
def test_a_published_setting_that_we_do_not_compute_is_refused(change, said, tokenizer, tmp_path):
    save(tmp_path / "model", build(tokenizer), tokenizer)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError) as caught:
        load(tmp_path / "model")
    assert said in caught.value.render("en")
