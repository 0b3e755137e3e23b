"""Model directories: the same bytes, the same logits; a readable difference for what does not fit; paths and runs."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from yanmo.core import files
from yanmo.core.errors import CorruptError, DataError, RequestError
from yanmo.models.base import Inputs
from yanmo.models.recurrent import LstmModel
from yanmo.models.store import candidates, load, resolve, save
from yanmo.models.transformer import TransformerModel


@pytest.fixture
def model(tokenizer, rng):
    return TransformerModel(depth=1, width=32, heads=2).build(tokenizer, rng, 16)


@pytest.fixture
def saved(model, tokenizer, tmp_path):
    save(tmp_path / "model", model, tokenizer, extra={"trained": {"context": 16, "标题": "研墨"}})
    return tmp_path / "model"


def test_the_same_model_gives_the_same_bytes_and_replaces_what_was_there(model, tokenizer, saved, tmp_path):
    save(tmp_path / "again", model, tokenizer, extra={"trained": {"context": 16, "标题": "研墨"}})
    names = sorted(p.name for p in saved.iterdir())
    assert names == ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    for name in names:
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    (saved / "stray.txt").write_text("old")
    save(saved, model, None)
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "model"]


def test_what_only_we_know_is_kept(saved, tokenizer, texts):
    opened = load(saved)
    assert opened.config["yanmo"] == {"dropout": 0.0, "trained": {"context": 16, "标题": "研墨"}, "tokenizer": tokenizer.identity()}
    assert opened.labels == []
    assert opened.generates
    assert opened.folder == saved
    assert not opened.model.training
    assert [opened.tokenizer.encode(text) for text in texts] == [tokenizer.encode(text) for text in texts]
    generation = files.read_json(saved / "generation_config.json")
    assert generation == {"bos_token_id": 1, "eos_token_id": [1, 3], "pad_token_id": 0}


def test_a_failed_save_leaves_what_was_there(saved, model, tokenizer, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}

    def fail(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tokenizer, "save", fail)
    with pytest.raises(Exception, match="disk is full"):
        save(saved, model, tokenizer)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda t: t.pop("model.norm.weight"), "missing: model.norm.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected: extra"),
        (
            lambda t: t.update({"model.layers.0.self_attn.k_proj.weight": torch.zeros(16, 32)}),
            "of another shape: model.layers.0.self_attn.k_proj.weight (16, 32) ≠ (32, 32)",
        ),
        (lambda t: (t.clear(), t.update(lm=torch.zeros(1))), "… (13); unexpected: lm"),
    ],
)
def test_tensors_that_do_not_fit_are_listed(saved, edit, said):
    change(saved, edit)
    with pytest.raises(DataError) as caught:
        load(saved)
    assert said in caught.value.render("en")
    assert str(saved) in caught.value.render("en")


def test_a_copy_of_the_tied_head_is_no_surprise(saved):
    change(saved, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert load(saved).model.head is None


def test_broken_files_end_in_one_line(saved):
    (saved / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(CorruptError, match=r"model\.safetensors: expected a safetensors file"):
        load(saved)
    (saved / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"no model\.safetensors in it"):
        load(saved)
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "model_type": "qwen4"}))
    with pytest.raises(DataError, match="did you mean 'qwen3'"):
        load(saved)
    (saved / "config.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(DataError, match="a 'model_type' that we read"):
        load(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(CorruptError, match=r"config\.json: expected valid JSON"):
        load(saved)


def test_a_tokenizer_larger_than_the_model_is_refused(saved, tokenizer, tmp_path, rng):
    from yanmo.text.characters import CharacterTokenizer

    CharacterTokenizer(min_count=1).train(["".join(map(chr, range(0x4E00, 0x4F00)))]).save(saved)
    with pytest.raises(DataError, match=f"at most {tokenizer.size} tokens"):
        load(saved)


def test_native_settings_that_are_wrong_name_their_key(tokenizer, tmp_path, rng):
    save(tmp_path / "m", LstmModel(depth=1, width=16).build(tokenizer, rng), tokenizer)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["settings"]["widht"] = 3
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"settings\.widht.*did you mean 'width'"):
        load(tmp_path / "m")


# ------------------------------------------------------------------------------------------------ runs


@pytest.fixture
def run(tmp_path, tokenizer, rng):
    """A run folder as the run writes it: stages in the recipe's order, which is not the alphabet's."""
    folder = tmp_path / "runs" / "x"
    for depth, (stage, kind) in enumerate([("small", "lstm"), ("large", "transformer"), ("again", "lstm")], 1):
        part = LstmModel(depth=depth, width=8) if kind == "lstm" else TransformerModel(depth=depth, width=8, head_size=4)
        save(folder / stage / "model", part.build(tokenizer, rng, 8), tokenizer)
        files.write_json(folder / stage / "manifest.json", {"stage": stage, "digest": "0", "files": {}})
    (folder / "corpus").mkdir()
    files.write_json(folder / "corpus" / "manifest.json", {"stage": "corpus", "digest": "0", "files": {}})
    stages = [{"corpus": {}}, *({"name": n, "pretrain": {}} for n in ("small", "large", "again")), {"evaluate": {}}]
    files.write_text(folder / "recipe.yaml", json.dumps({"name": "x", "seed": 0, "stages": stages}))
    return folder


def test_a_path_may_be_a_model_a_stage_or_a_run(run):
    assert resolve(run) == run / "again" / "model"
    assert resolve(str(run / "large")) == run / "large" / "model"
    assert resolve(run / "large" / "model") == run / "large" / "model"
    assert candidates(run) == [run / name / "model" for name in ("small", "large", "again")]
    assert resolve(run, able=lambda config: config["model_type"] == "qwen3") == run / "large" / "model"
    assert load(run).model.part.depth == 3


def test_a_path_without_a_model_says_what_is_there(run):
    with pytest.raises(RequestError, match=r"no config\.json in it"):
        resolve(run / "corpus")
    with pytest.raises(RequestError, match="no such folder - did you mean 'large'"):
        resolve(run / "larg")
    with pytest.raises(RequestError, match="a model that can do this"):
        resolve(run, able=lambda config: False)


def test_logits_survive_bit_for_bit(saved, model, tokenizer, texts):
    opened = load(saved)
    for text in texts:
        inputs = Inputs(torch.tensor([tokenizer.encode(text)[:16]]))
        with torch.no_grad():
            assert torch.equal(opened.model(inputs).logits, model(inputs).logits)
