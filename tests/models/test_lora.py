"""Low-rank adapters on models: what is trained, merging with its parity check, and PEFT's layout there and back."""

import copy
import json

import pytest
import torch

from yanmo.core.errors import DataError, RecipeError, RequestError, TrainingError
from yanmo.core.registry import create
from yanmo.models import adapter, lora, peft
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier
from yanmo.models.hf import HuggingFaceModel
from yanmo.models.recurrent import LstmModel
from yanmo.models.store import load, save
from yanmo.nn.adapted import AdaptedLinear
from yanmo.nn.four import FourLinear

SMALL = {"depth": 2, "width": 32, "heads": 4, "context": 48}
LLAMA = {"type": "transformer", **SMALL, "kv_heads": 2, "qk_norm": False}
MODELS = {
    "llama": LLAMA,
    "gpt2": {"type": "transformer", **SMALL, "qk_norm": False, "bias": "all", "mlp": "gelu_tanh", "norm": "layer", "position": "learned"},
    "gpt_neox": {"type": "transformer", **SMALL, "qk_norm": False, "bias": "all", "mlp": "gelu", "norm": "layer",
                 "norm_at": "parallel", "position": {"type": "rotary", "share": 0.5}, "tie": False},
    "bert": {"type": "bert", **SMALL},
}  # fmt: skip
ALL = ["lora", "dora", "rslora"]


def part(**settings):
    return create("adapter", {"type": "lora", "rank": 3, "alpha": 6, **settings})


def build(kind, tokenizer, labels=0):
    rng = torch.Generator().manual_seed(0)
    model = create("model", MODELS[kind]).build(tokenizer, rng)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    if labels:
        model = Classifier(model, labels)
        model.initialise(rng)
        with torch.no_grad():
            model.head.weight.mul_(20)
    return model


def stir(model):
    """As if the adapter had been trained."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.rand(parameter.shape, generator=rng))
            elif ".up." in name or ".down." in name:
                parameter.add_(torch.randn(parameter.shape, generator=rng).mul(0.2))
    return model.eval()


def settings_of(name):
    return {"lora": {}, "dora": {"dora": True}, "rslora": {"rslora": True}}[name]


def tokens(model, rows=2, steps=20):
    return torch.arange(rows * steps).mul(11).remainder(adapter.backbone_of(model).vocabulary - 1).add(1).view(rows, steps)


def given(model, **inputs):
    with torch.no_grad():
        found = model(Inputs(tokens(model), **inputs))
    return getattr(found, "logits", found)


def test_only_the_adapter_and_the_head_are_parameters(tokenizer, rng):
    model = build("llama", tokenizer, labels=3)
    before, whole = given(model), {name for name, _ in model.named_parameters()}
    made = part(targets=["q", "v"]).apply(model, rng)
    torch.testing.assert_close(given(made), before)
    names = {name for name, _ in made.named_parameters()}
    assert names - whole == {f"backbone.stack.blocks.{b}.attention.qkv.{what}.{p}" for b in (0, 1) for what in ("down", "up") for p in "qv"}
    assert names & whole == {"score.weight"}
    assert set(made.state_dict()) == names  # so are checkpoints
    optimizer = create("optimizer", {"type": "adamw", "lr": 0.01}).make(made)
    made.train()
    for _ in range(2):
        torch.nn.functional.cross_entropy(made(Inputs(tokens(made))), torch.tensor([0, 2])).backward()
        optimizer.step()
    assert len(optimizer.state) == len(names)
    assert all(tensor.grad is None and not tensor.requires_grad for tensor in adapter.shelved(made))
    assert not torch.equal(given(made), before)


@pytest.mark.parametrize(("targets", "maps"), [(["q", "v"], "qv"), (["out"], ["out"]), ("all", ["q", "k", "v", "out", "gate", "up", "down"])])
def test_targets(targets, maps, tokenizer, rng):
    model = part(targets=targets).apply(build("llama", tokenizer), rng)
    found = [piece for layer in lora.adapted(model).values() for piece in layer.spans]
    assert found == list(maps) * 2


def test_a_target_that_names_nothing(tokenizer, rng):
    with pytest.raises(RecipeError) as caught:
        part(targets=["q", "gat"]).apply(build("llama", tokenizer), rng)
    assert str(caught.value) == "adapter.targets: expected a map of this model, got 'gat' - did you mean 'gate'?"
    with pytest.raises(RequestError, match="a model with linear layers inside"):
        part().apply(LstmModel(width=16).build(tokenizer, rng), rng)
    for targets in (["q", "q"], [], "q"):
        with pytest.raises(RecipeError, match=r"adapter.targets: expected"):
            part(targets=targets)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", MODELS)
def test_merged_it_gives_the_adapted_models_logits(kind, name, tokenizer, rng, tmp_path):
    labels = 3 if kind == "bert" else 0
    adapted = part(targets="all", **settings_of(name))
    model = stir(adapted.apply(build(kind, tokenizer, labels), rng))
    want = given(model)
    assert float((want - given(build(kind, tokenizer, labels))).abs().max()) > 1e-3
    merged = adapted.finished(model)
    torch.testing.assert_close(given(merged), want, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, AdaptedLinear) for module in merged.modules())
    save(tmp_path / "model", merged, tokenizer, labels=["a", "b", "c"][:labels])
    torch.testing.assert_close(given(load(tmp_path / "model").model), want, rtol=1e-4, atol=1e-5)


def test_a_tied_head_stays_tied(tokenizer, rng):
    adapted = part()
    model = adapted.finished(stir(adapted.apply(build("llama", tokenizer), rng)))
    assert model.head is None
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in build("llama", tokenizer).named_parameters()}
    assert all(p.requires_grad for p in model.parameters())
    assert model.stack.blocks[0].attention.qkv.weight.pieces == (32, 16, 16)


@pytest.mark.parametrize("broken", [lambda w: w + 0.1, lambda w: w * float("nan")])
def test_a_merge_that_gives_other_logits_is_refused(broken, tokenizer, rng, monkeypatch):
    adapted = part()
    model = stir(adapted.apply(build("llama", tokenizer), rng))
    merged = AdaptedLinear.merged
    monkeypatch.setattr(AdaptedLinear, "merged", lambda self: broken(merged(self)))
    with pytest.raises(TrainingError, match="adapter: expected a merged model with the adapted one's logits, within"):
        adapted.finished(model)


@pytest.mark.parametrize("targets", [["q", "v"], "all"])
def test_a_base_in_four_bits(targets, tokenizer, rng):
    adapted = part(targets=targets, base="nf4")
    model = adapted.apply(build("llama", tokenizer), rng)
    fours = [module for module in model.modules() if isinstance(module, FourLinear)]
    assert len(fours) == 8
    near = given(model)
    assert not torch.equal(near, given(build("llama", tokenizer)))
    want = given(stir(model))
    merged = adapted.finished(model)
    torch.testing.assert_close(given(merged), want, rtol=1e-4, atol=1e-5)  # of the base as it was trained on
    assert not any(isinstance(module, FourLinear) for module in merged.modules())


def test_copies_have_the_base_in_common(tokenizer, rng):
    for base in ("fp32", "nf4"):
        model = part(base=base).apply(build("llama", tokenizer), rng)
        twin = adapter.copied(model)
        assert {x.data_ptr() for x in adapter.shelved(model)} == {x.data_ptr() for x in adapter.shelved(twin)}
        assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in twin.parameters()}
        stir(twin)
        assert not torch.equal(given(twin), given(model))


def test_the_same_seed_draws_the_same_adapter(tokenizer):
    drawn = [dict(part(targets="all").apply(build("llama", tokenizer), torch.Generator().manual_seed(7)).named_parameters()) for _ in "ab"]
    assert all(torch.equal(value, drawn[1][name]) for name, value in drawn[0].items())


# ------------------------------------------------------------------------------------------------ PEFT's layout


def adapter_folder(tmp_path, kind, name, targets, tokenizer, rng):
    """A base, a trained adapter of it in a folder, and the adapted model's logits."""
    labels = ["a", "b", "文"] if kind == "bert" else []
    base = build(kind, tokenizer)
    if labels:
        save(tmp_path / "base", base, tokenizer)
        base = load(tmp_path / "base").model
        model = Classifier(base, 3)
        model.initialise(rng)
    else:
        save(tmp_path / "base", base, tokenizer)
        model = base
    adapted = part(targets=targets, **settings_of(name))
    model = stir(adapted.apply(model, rng))
    adapted.save(tmp_path / "adapter", model, "../base", tokenizer, labels)
    return given(model), labels


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", MODELS)
def test_a_folder_is_read_on_its_base(kind, name, tokenizer, rng, tmp_path):
    want, labels = adapter_folder(tmp_path, kind, name, "all", tokenizer, rng)
    opened = peft.opened(tmp_path / "adapter")
    torch.testing.assert_close(given(opened.model), want, rtol=1e-4, atol=1e-5)
    assert opened.labels == labels
    assert opened.tokenizer.encode("Call 天下") == tokenizer.encode("Call 天下")
    names = {path.name for path in (tmp_path / "adapter").iterdir()} - {"labels.json"}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert "/" + str(tmp_path).strip("/") not in (tmp_path / "adapter" / "adapter_config.json").read_text()
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    if kind == "llama":
        assert config["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
        assert config["rank_pattern"] == {}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(("kind", "targets"), [("llama", ["q", "v"]), ("gpt2", "all"), ("gpt_neox", ["q", "v", "down"]), ("bert", ["q", "out"])])
def test_peft_gives_the_same_logits(kind, targets, name, tokenizer, rng, tmp_path, hf):
    theirs = pytest.importorskip("peft", reason="peft is not installed")
    want, labels = adapter_folder(tmp_path, kind, name, targets, tokenizer, rng)
    cls = hf.AutoModelForSequenceClassification if labels else hf.AutoModelForCausalLM
    base = cls.from_pretrained(tmp_path / "base", **({"num_labels": 3} if labels else {}))
    model = theirs.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        got = model(tokens(build(kind, tokenizer))).logits
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"use_rslora": True, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"v_proj": 9}}])
def test_what_peft_saves_is_read(settings, tokenizer, tmp_path, hf):
    theirs = pytest.importorskip("peft", reason="peft is not installed")
    save(tmp_path / "base", build("llama", tokenizer), tokenizer)
    base = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    config = theirs.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM", **settings)
    torch.manual_seed(0)
    model = theirs.get_peft_model(base, config).eval()
    model.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        want = model(tokens(build("llama", tokenizer))).logits
    torch.testing.assert_close(given(peft.opened(tmp_path / "adapter", tmp_path / "base").model), want, rtol=1e-4, atol=1e-4)


def test_a_folder_that_is_not_one_is_refused(tokenizer, rng, tmp_path):
    adapter_folder(tmp_path, "llama", "lora", ["q"], tokenizer, rng)
    place = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(place.read_text())

    def said(changes, base=None):
        place.write_text(json.dumps({**config, **changes}))
        with pytest.raises(DataError) as caught:
            peft.opened(tmp_path / "adapter", base)
        return str(caught.value)

    assert "peft_type: expected one of LORA, PROMPT_TUNING, got IA3" in said({"peft_type": "IA3"})
    assert "bias: expected one of none, got lora_only" in said({"bias": "lora_only"})
    assert "base_model_name_or_path: expected the model that the adapter stands beside, got nowhere" in said({"base_model_name_or_path": "nowhere"})
    save(tmp_path / "other", build("gpt2", tokenizer), tokenizer)
    assert "expected an adapter of this base, got model.layers.0.self_attn.q_proj" in said({}, tmp_path / "other")
    wide = create("model", {**LLAMA, "width": 64}).build(tokenizer, rng)
    save(tmp_path / "wide", wide, tokenizer)
    assert "a product of shape" in said({}, tmp_path / "wide")


# ------------------------------------------------------------------------------------------------ transformers' own models


@pytest.fixture(scope="module")
def phi(tokenizer, tmp_path_factory):
    """A model that no family of ours reads, saved."""
    hf = pytest.importorskip("transformers", reason="transformers is a development dependency")
    torch.manual_seed(0)
    config = hf.PhiConfig(vocab_size=tokenizer.size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                          max_position_embeddings=48, bos_token_id=1, eos_token_id=1, pad_token_id=0)  # fmt: skip
    model = hf.PhiForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    folder = tmp_path_factory.mktemp("phi")
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("name", ALL)
def test_on_a_model_of_transformers(name, phi, tokenizer, rng, tmp_path, hf):
    model = load(phi).model
    assert isinstance(model, HuggingFaceModel)
    adapted = part(targets=["q", "v", "dense"], **settings_of(name))
    model = stir(adapted.apply(model, rng))
    assert all("down" in name or "up" in name or "magnitude" in name for name, _ in model.named_parameters())
    want = given(model)
    adapted.save(tmp_path / "adapter", model, str(phi), tokenizer, [])
    torch.testing.assert_close(given(peft.opened(tmp_path / "adapter", phi).model), want, rtol=1e-4, atol=1e-5)
    merged = copy.deepcopy(adapted.finished(model))
    torch.testing.assert_close(given(merged), want, rtol=1e-4, atol=1e-5)
    theirs = pytest.importorskip("peft", reason="peft is not installed")
    model = theirs.PeftModel.from_pretrained(hf.AutoModelForCausalLM.from_pretrained(phi), tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(tokens(merged)).logits, want, rtol=1e-4, atol=1e-4)
