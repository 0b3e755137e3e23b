"""`yanmo export`: what is written says what its source says, or nothing is left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import yanmo
from yanmo.core.errors import CorruptError, DataError, RequestError
from yanmo.evaluate.subjects import facts
from yanmo.models.recurrent import LstmModel
from yanmo.models.store import load, save
from yanmo.models.transformer import TransformerModel
from yanmo.stages import export as stage
from yanmo.stages.export import TEXTS, TOLERANCES, export
from yanmo.text.bpe import BpeTokenizer

PROSE = ["Call me Ishmael. Some years ago, never mind how long precisely.", "话说天下大势，分久必合，合久必分。", *TEXTS] * 2


@pytest.fixture(scope="module")
def tokenizer():
    return BpeTokenizer(size=300).train(PROSE)


def noisy(model, seed=0):
    rng = torch.Generator().manual_seed(seed)
    model.initialise(rng)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng) * 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def decoder(tokenizer, tmp_path_factory):
    """A Qwen3-like model, saved as ours are."""
    folder = tmp_path_factory.mktemp("decoder") / "model"
    model = TransformerModel(depth=2, width=64, heads=4, kv_heads=2, head_size=32).build(tokenizer, torch.Generator(), 64)
    save(folder, noisy(model), tokenizer)
    return folder


@pytest.fixture(scope="module")
def encoder(tokenizer, tmp_path_factory):
    from yanmo.models.families.bert import BertModel

    folder = tmp_path_factory.mktemp("encoder") / "model"
    model = BertModel(depth=2, width=64, heads=4, context=64).build(tokenizer, torch.Generator(), 64)
    save(folder, noisy(model), tokenizer)
    return folder


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_gguf_of_every_type_says_the_same(decoder, tmp_path, dtype):
    report = export(decoder, "gguf", tmp_path / "out", dtype)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["model.gguf"]
    assert report["difference"] <= report["tolerance"] * 0.6
    assert (report["texts"], report["bytes"]) == (3, (tmp_path / "out/model.gguf").stat().st_size)
    assert facts(yanmo.load(tmp_path / "out/model.gguf"))["bytes"] == report["bytes"], "its one file is counted"
    if dtype == "f32":
        assert report["largest_difference"] < 1e-5
    source, result = load(decoder), load(tmp_path / "out/model.gguf")
    for text in PROSE:
        assert result.tokenizer.encode(text) == source.tokenizer.encode(text)
    assert result.tokenizer.chat_template == source.tokenizer.chat_template
    assert result.tokenizer.names == source.tokenizer.names


def test_gguf_and_back_is_the_same_model(decoder, tmp_path):
    export(decoder, "gguf", tmp_path / "a.gguf")
    export(tmp_path / "a.gguf", "hf", tmp_path / "b")
    export(tmp_path / "b", "gguf", tmp_path / "c.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "c.gguf").read_bytes()
    first, last = yanmo.load(decoder), yanmo.load(tmp_path / "b")
    assert first.generate("Call me", temperature=0, max_tokens=8) == last.generate("Call me", temperature=0, max_tokens=8)
    assert torch.equal(first.logits([5, 6, 7]), last.logits([5, 6, 7]))


@pytest.mark.parametrize(("dtype", "bound"), [("f32", 1e-7), ("f16", 1e-2), ("bf16", 5e-2)])
def test_hugging_face_folders_in_shards_open_in_transformers(decoder, tmp_path, dtype, bound):
    import transformers

    transformers.utils.logging.disable_progress_bar()
    report = export(decoder, "hf", tmp_path / "out", dtype, max_shard_bytes=100_000)
    assert report["difference"] <= bound
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[dtype]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids = yanmo.load(decoder).tokenizer.encode(PROSE[0])
    with torch.no_grad():
        found = theirs(torch.tensor([ids])).logits[0]
    expected = yanmo.load(decoder).logits(ids)
    assert float((found - expected).norm() / expected.norm()) < max(bound, 1e-4)


def test_an_encoder_as_onnx(encoder, tmp_path, tokenizer):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    report = export(encoder, "onnx", tmp_path / "out")
    assert report["largest_difference"] < 1e-4
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"]
    session = runtime.InferenceSession(str(tmp_path / "out/model.onnx"), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type) for i in session.get_inputs()] == [("input_ids", "tensor(int64)"), ("attention_mask", "tensor(int64)")]
    model = yanmo.load(encoder)
    for count in (1, 2, 33, 64):  # other sizes than it was traced with
        ids = [(7 * place + count) % tokenizer.size for place in range(count)]
        found = session.run(None, {"input_ids": np.array([ids, ids]), "attention_mask": np.ones((2, count), np.int64)})[0]
        assert np.abs(found[1] - model.logits(ids).numpy()).max() < 1e-4


def test_a_bert_as_gguf_is_its_encoder(encoder, tmp_path):
    import shutil

    shutil.copytree(encoder, tmp_path / "bare")
    with pytest.raises(DataError, match=r"tensors of bert, got .*cls\."):  # the head has no place there
        export(tmp_path / "bare", "gguf", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bare"]


# ------------------------------------------------------------------------------------------------ real models

MODELS = os.environ.get("YANMO_MODELS")
real = pytest.mark.skipif(not MODELS, reason="YANMO_MODELS names no folder with SmolLM2-135M-Instruct as GGUF and all-MiniLM-L6-v2")


@pytest.mark.slow
@real
def test_the_real_smollm2_answers_from_its_file_from_a_folder_and_from_a_file_again(tmp_path):
    file = next(Path(str(MODELS)).rglob("SmolLM2*.gguf"))
    assert export(file, "hf", tmp_path / "hf")["largest_difference"] == 0
    assert export(tmp_path / "hf", "gguf", tmp_path / "again.gguf")["largest_difference"] == 0
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    answers = {yanmo.load(path).chat(asked, temperature=0, max_tokens=12) for path in (file, tmp_path / "hf", tmp_path / "again.gguf")}
    assert answers == {"The capital of France is Paris."}


@pytest.mark.slow
@real
def test_the_real_minilm_as_onnx_and_as_gguf(tmp_path):
    pytest.importorskip("onnxruntime")
    folder = next(path.parent for path in Path(str(MODELS)).rglob("sentence_bert_config.json"))
    assert export(folder, "onnx", tmp_path / "onnx")["largest_difference"] < 1e-4
    assert export(folder, "gguf", tmp_path / "model.gguf")["largest_difference"] < 1e-5


@pytest.mark.slow
@real
def test_the_real_minilm_gives_the_vectors_of_transformers():
    transformers = pytest.importorskip("transformers")
    folder = next(path.parent for path in Path(str(MODELS)).rglob("sentence_bert_config.json"))
    texts = ["The capital of France is Paris.", "研墨是写字之前的事。", "emoji 👩‍👩‍👧‍👦 e\u0301", "Water turns the mill's stone. " * 20]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = transformers.AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None].float()
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
    model = yanmo.load(folder)
    assert [model.tokenizer.encode(text) for text in texts] == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = torch.nn.functional.normalize(torch.as_tensor(np.asarray(model.embed(texts))))
    assert float((found * expected).sum(1).min()) >= 0.9999


# ------------------------------------------------------------------------------------------------ refused


def test_a_difference_leaves_nothing_behind(decoder, tmp_path, monkeypatch):
    """As if keys were written in the wrong order: found by what the model says."""
    from yanmo.models.gguf import architectures

    monkeypatch.setitem(architectures.QWEN3.changes, "blk.{layer}.attn_k", architectures.Change(lambda x, c: x.flip(0), lambda x, c: x))
    with pytest.raises(CorruptError) as error:
        export(decoder, "gguf", tmp_path / "out", "f16")
    assert "expected logits that differ from the source's by at most 0.01 of their size, got" in str(error.value)
    assert "the largest difference is" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_other_token_ids_leave_nothing_behind(decoder, tmp_path, monkeypatch):
    from yanmo.models.gguf import vocabulary

    real = vocabulary.metadata

    def swapped(tokenizer, size):
        keys, notes = real(tokenizer, size)
        keys = {key: value for key, value in keys.items() if key != vocabulary.WHOLE}
        names = list(keys["tokenizer.ggml.tokens"])
        names[20], names[21] = names[21], names[20]
        return keys | {"tokenizer.ggml.tokens": names}, notes

    monkeypatch.setattr(vocabulary, "metadata", swapped)
    with pytest.raises(CorruptError, match="the token ids of the source's tokenizer"):
        export(decoder, "gguf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("to", "dtype", "said"),
    [
        ("ggml", "f32", "--to: expected one of hf, gguf, onnx, got ggml"),
        ("hf", "q8_0", "--dtype: expected one of f32, f16, bf16, got q8_0"),
        ("onnx", "f16", "--dtype: expected one of f32, got f16"),
        ("gguf", "q3_k", "--dtype: expected one of f32, f16, bf16, q8_0, q4_0, got q3_k"),
        ("onnx", "f32", "an encoder, or a classifier made of one"),
    ],
)
def test_requests_that_cannot_be(decoder, tmp_path, to, dtype, said):
    with pytest.raises(RequestError) as error:
        export(decoder, to, tmp_path / "out", dtype)
    assert said in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_replaced(decoder, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(RequestError, match="it is there already"):
        export(decoder, "gguf", tmp_path / "out")


def test_shards_are_for_folders(decoder, tmp_path):
    with pytest.raises(RequestError, match="--max-shard-bytes"):
        export(decoder, "gguf", tmp_path / "out", max_shard_bytes=1000)


@pytest.mark.parametrize("to", ["hf", "gguf", "onnx"])
def test_models_of_our_own_kind_have_no_place_elsewhere(tokenizer, tmp_path, to):
    model = LstmModel(width=32).build(tokenizer, torch.Generator(), 16)
    save(tmp_path / "model", noisy(model), tokenizer)
    with pytest.raises(DataError):
        export(tmp_path / "model", to, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_verb_prints_what_was_compared(decoder, tmp_path, capsys):
    from yanmo.cli import main

    assert main(["export", str(decoder), str(tmp_path / "out"), "--to", "gguf", "--dtype", "q8_0", "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["dtype"], report["positions"]) == ("gguf", "q8_0", sum(map(len, stage.probes(load(decoder).tokenizer, load(decoder)))))
    assert len(report["notes"]) == 1  # llama.cpp has no name for our way of cutting
