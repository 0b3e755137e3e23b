"""Every setting of every family's config.json with values that do not belong there, and every key of a GGUF's metadata: what
opens computes numbers, and what does not ends in one line of ours, soon, whatever the value."""

import json
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from yanmo.core.errors import YanmoError
from yanmo.core.registry import create
from yanmo.models.base import Inputs, LanguageModel
from yanmo.models.gguf.reader import Gguf
from yanmo.models.gguf.writer import Planned, write
from yanmo.models.store import load, save

pytestmark = pytest.mark.slow  # thousands of models are opened

SIZES = {"type": "transformer", "depth": 1, "width": 16, "heads": 2, "context": 24}
GPT2 = {"qk_norm": False, "bias": "all", "mlp": "gelu_tanh", "norm": "layer", "position": "learned"}
GEMMA = {"mlp": "geglu", "norm": {"type": "rms", "offset": True}, "norm_at": "sandwich", "embedding": {"scale": True}}
KINDS = {
    "qwen3": {}, "qwen2": {"qk_norm": False, "bias": "qkv"}, "llama": {"qk_norm": False, "position": {
        "type": "rotary", "scaling": {"type": "yarn", "factor": 4.0, "trained": 16}}},
    "mistral": {"qk_norm": False, "attention": {"window": 5}}, "mixtral": {"qk_norm": False, "mlp": {"type": "experts", "experts": 4}, "tie": False},
    "qwen3_moe": {"mlp": {"type": "experts", "experts": 4}, "mlp_width": 16},
    "gemma2": {**GEMMA, "qk_norm": False, "attention": {"window": 5, "full_every": 2, "softcap": 9.0}, "head": {"softcap": 7.0}},
    "gemma3_text": {**GEMMA, "attention": {"window": 5, "full_every": 2}, "position": {"type": "rotary", "local_theta": 100.0}},
    "gpt2": GPT2, "gpt_neox": {**GPT2, "mlp": "gelu", "norm_at": "parallel", "position": {"type": "rotary", "share": 0.5}, "tie": False},
    "bert": {"type": "bert"}, "t5": {"type": "t5"}, "bart": {"type": "bart"},
    "yanmo_transformer": {"mlp": "relu2", "architecture": "encoder", "embedding": {"query": True}},
    "yanmo_lstm": {"type": "lstm", "depth": 1, "width": 16}, "yanmo_ngram": {"type": "ngram", "order": 3},
}  # fmt: skip
VALUES = (None, True, "x", -1, 0, 10**9, 10**30, -0.5, 1e308, math.nan, [], ["x"], {}, {"rope_type": "yarn"})
SECONDS = 3  # of processor time, for one value; most take a hundredth


@pytest.fixture(scope="module")
def opened(tokenizer, tmp_path_factory):
    """name → the folder of a small model that is of that family."""
    found = {}
    for name, fields in KINDS.items():
        folder = tmp_path_factory.mktemp(name) / "model"
        settings = {**SIZES, **fields}
        part = create("model", {key: value for key, value in settings.items() if settings["type"] not in ("lstm", "ngram") or key in fields})
        if part.counted:
            tokens = np.arange(400, dtype=np.uint16) % tokenizer.size
            model = part.fit(SimpleNamespace(tokens=tokens), tokenizer, folder.parent)
        else:
            model = part.build(tokenizer, torch.Generator().manual_seed(0), 24)
        save(folder, model, tokenizer)
        found[name] = folder
    return found


def finite(folder):
    """Whether what opens gives numbers; None where it is refused in our words."""
    started = time.process_time()
    loaded, said = None, ""
    try:
        loaded = load(folder)
    except YanmoError as error:
        said = str(error)
    assert time.process_time() - started < SECONDS
    if loaded is None:
        assert "\n" not in said
        assert 0 < len(said) < 900
        return None
    model = loaded.model
    if not isinstance(model, LanguageModel):
        return True
    tokens = torch.arange(4, 4 + min(9, model.context or 9))[None]
    try:
        with torch.no_grad():
            source = Inputs(tokens) if model.kind == "encoder-decoder" else None
            return bool(model(Inputs(tokens, source=source)).logits.isfinite().all())
    except YanmoError:
        return None


@pytest.mark.parametrize("name", KINDS)
def test_no_value_of_a_setting_passes_unnoticed_or_ends_otherwise(opened, name):
    folder = opened[name]
    path = folder / "config.json"
    sound = path.read_text("utf-8")
    config = json.loads(sound)
    assert config["model_type"] == name
    assert finite(folder)
    refused = 0
    try:
        for key, changed in every(config):
            for value in VALUES:
                path.write_text(json.dumps(changed(value)), encoding="utf-8")
                try:
                    answer = finite(folder)
                except Exception as error:
                    raise AssertionError(f"{name}: {key} = {value!r}") from error
                refused += answer is None
                assert answer is not False, f"{name}: {key} = {value!r} opens, and gives no numbers"
    finally:
        path.write_text(sound, encoding="utf-8")
    assert refused > 3 * len(config)


def every(config):
    """(the name of each setting, one level down too; value → the config with that value)."""
    for key, held in config.items():
        yield key, lambda value, key=key: {**config, key: value}
        if isinstance(held, dict):
            for inner, below in held.items():
                yield f"{key}.{inner}", lambda value, key=key, inner=inner, held=held: {**config, key: {**held, inner: value}}
                if isinstance(below, dict):
                    for deep in below:
                        yield (f"{key}.{inner}.{deep}", lambda value, key=key, inner=inner, deep=deep, held=held, below=below:
                               {**config, key: {**held, inner: {**below, deep: value}}})  # fmt: skip
    for key in ("rope_scaling", "rope_parameters", "layer_types", "sliding_window", "num_key_value_heads", "head_dim", "yanmo", "auto_map",
                "id2label", "is_decoder", "tie_word_embeddings", "vocab_size", "decoder_start_token_id", "settings"):  # fmt: skip
        if key not in config:
            yield key, lambda value, key=key: {**config, key: value}


GGUF = (0, 1 << 31, -1, math.nan, 1e38, True, "x", [], [1], ["x"])


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "gpt2"])
def test_no_value_of_a_ggufs_key_ends_otherwise(opened, name, tmp_path):
    from yanmo.stages.export import export

    export(opened[name], "gguf", tmp_path / "m.gguf")
    file = Gguf(tmp_path / "m.gguf")
    held = {key: Planned(key, entry.encoding, entry.shape, lambda key=key: file.numbers(key)) for key, entry in file.tensors.items()}
    small = [held[key] for key in held]
    assert finite(tmp_path / "m.gguf")
    for key in list(file.metadata):
        if key.startswith("general.") and key not in ("general.architecture", "general.alignment"):
            continue
        for value in GGUF:
            write(tmp_path / "bad.gguf", {**file.metadata, key: value}, small)
            try:
                answer = finite(tmp_path / "bad.gguf")
            except Exception as error:
                raise AssertionError(f"{name}: {key} = {value!r}") from error
            assert answer is not False, f"{name}: {key} = {value!r} opens, and gives no numbers"
