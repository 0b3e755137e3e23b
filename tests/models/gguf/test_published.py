"""A published model to GGUF and back: the same config, the same tensors; what `transformers` makes of the file through the
`gguf` package is the oracle for names, order and rotary pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from yanmo.core.errors import CorruptError, DataError
from yanmo.models.gguf.architectures import ALL, EXPORTED
from yanmo.models.gguf.model import GgufModel, opened
from yanmo.models.gguf.plan import planned
from yanmo.models.gguf.reader import Gguf
from yanmo.models.gguf.writer import Planned, write
from yanmo.models.store import load
from yanmo.models.weights.folder import read_tensors
from yanmo.models.weights.tensors import Held
from yanmo.models.weights.writing import write_tensors

BASE = {"vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128}  # fmt: skip
GEMMA = BASE | {"head_dim": 32, "sliding_window": 4, "query_pre_attn_scalar": 32}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}
CASES = {
    "llama": ("Llama", BASE),
    "llama3": ("Llama", BASE | {"head_dim": 32, "tie_word_embeddings": True, "rope_parameters": LLAMA3}),
    "biased": ("Llama", BASE | {"attention_bias": True, "mlp_bias": True}),
    "yarn": ("Llama", BASE | {"rope_parameters": YARN}),
    "linear": ("Llama", BASE | {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "mistral": ("Mistral", BASE | {"sliding_window": None, "head_dim": 32}),
    "qwen2": ("Qwen2", BASE),
    "qwen3": ("Qwen3", BASE | {"head_dim": 32}),
    "mixtral": ("Mixtral", BASE | {"num_local_experts": 4}),
    "qwen3_moe": ("Qwen3Moe", BASE | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True, "head_dim": 32}),
    "gemma2": ("Gemma2", GEMMA),
    "gemma3": ("Gemma3", GEMMA | {"num_hidden_layers": 7}),
    "gpt2": ("GPT2", {"vocab_size": 97, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128, "bos_token_id": 1, "eos_token_id": 1}),
    "gpt_neox": ("GPTNeoX", BASE | {"rotary_pct": 0.25, "num_key_value_heads": 4}),
    "gpt_neox linear": ("GPTNeoX", BASE | {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0, "partial_rotary_factor": 0.5}}),
    "bert": ("Bert", BASE),
}
CONFIGS, MODELS = {"Gemma3": "Gemma3TextConfig"}, {"GPT2": "GPT2LMHeadModel", "Bert": "BertModel"}
LINES = {"llama", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3", "gpt2"}  # what transformers' own reader of GGUF knows


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """(name, transformers' model, its folder, the file)"""
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    kind, settings = CASES[request.param]
    config = getattr(transformers, CONFIGS.get(kind, f"{kind}Config"))(**settings)
    torch.manual_seed(0)
    model = getattr(transformers, MODELS.get(kind, f"{kind}ForCausalLM"))(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder / "hf")
    metadata, tensors = planned(json.loads((folder / "hf/config.json").read_text()), read_tensors(folder / "hf"), "f32", "config.json")
    write(folder / "model.gguf", metadata, tensors)
    return request.param, model, folder / "hf", folder / "model.gguf"


@torch.no_grad()
def outputs(model):
    ids = torch.randint(0, 97, (2, 24), generator=torch.Generator().manual_seed(1))
    out = model(ids)
    return out.logits if hasattr(out, "logits") else out.last_hidden_state


def test_every_tensor_comes_back(case):
    name, _, folder, file = case
    back, given = opened(file).tensors, read_tensors(folder)
    left = {tensor for tensor in given if tensor not in back}
    assert left == ({"pooler.dense.weight", "pooler.dense.bias"} if name == "bert" else set())
    assert set(back) <= set(given)
    for tensor in back:
        assert back.shape(tensor) == given.shape(tensor)
        same = torch.allclose(back[tensor], given[tensor], rtol=0, atol=2e-7)
        assert same if "gemma" in name else torch.equal(back[tensor], given[tensor]), tensor


def test_every_setting_comes_back(case):
    _, _, folder, file = case
    given, found = json.loads((folder / "config.json").read_text()), opened(file).config
    if given["model_type"] == "mistral":  # to llama.cpp it is Llama, which it is
        given |= {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    given["num_experts"] = given.get("num_local_experts")
    for key, value in found.items():
        if key in ("n_inner", "rope_theta", "yanmo") or (key == "head_dim" and given.get(key) is None):
            continue
        if key == "rope_parameters":
            usual = {"beta_fast": 32.0, "beta_slow": 1.0}
            assert {k: v for k, v in value.items() if usual.get(k) != v} == {k: v for k, v in given[key].items() if usual.get(k) != v}
        else:
            assert value == given.get(key, value), key


def test_transformers_loads_what_comes_back_and_gives_the_same_logits(case, tmp_path):
    _, model, _, file = case
    write_tensors(tmp_path, opened(file).tensors)
    (tmp_path / "config.json").write_text(json.dumps(opened(file).config))
    import transformers

    kind = type(model) if opened(file).config["model_type"] != "llama" else transformers.LlamaForCausalLM
    again = kind.from_pretrained(tmp_path).eval()
    assert (outputs(again) - outputs(model)).abs().max() < 1e-5


def test_transformers_own_reader_finds_the_same_tensors_in_the_file(case):
    name, model, _, file = case
    if name not in LINES:
        pytest.skip(f"transformers' reader of GGUF has no {name}")
    pytest.importorskip("gguf")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    again = type(model)(model.config).eval()
    loaded = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=again)
    missing, unexpected = again.load_state_dict(loaded["tensors"], strict=False)
    assert (set(missing) <= {"lm_head.weight"}, unexpected) == (True, [])
    again.tie_weights()
    assert (outputs(again) - outputs(model)).abs().max() < 1e-5


def test_our_families_read_the_file(case):
    name, model, _, file = case
    if name == "biased":
        with pytest.raises(DataError, match="attention_bias: expected one of False"):
            load(file)
        return
    ours = load(file).model
    ids = torch.randint(0, 97, (2, 24), generator=torch.Generator().manual_seed(1))
    from yanmo.models.base import Inputs

    with torch.no_grad():
        out = ours(Inputs(ids)) if name != "bert" else None
        found = ours.encode(Inputs(ids)) if out is None else out.logits
    assert (found - outputs(model)).abs().max() < 1e-4


@pytest.mark.parametrize(("dtype", "bound"), [("f16", 2e-3), ("bf16", 2e-2), ("q8_0", 2e-2), ("q4_0", 0.4)])
def test_smaller_types_lose_what_they_must(case, tmp_path, dtype, bound):
    """The relative error of all weights together; vectors stay as they are."""
    _, _, folder, _ = case
    given = read_tensors(folder)
    metadata, tensors = planned(json.loads((folder / "config.json").read_text()), given, dtype, "config.json")
    write(tmp_path / "m.gguf", metadata, tensors)
    file = GgufModel(tmp_path / "m.gguf")
    encodings = {stored.encoding.name for stored in file.file.tensors.values() if len(stored.shape) > 1}
    assert dtype.upper() in encodings
    for name in file.tensors:
        a, b = given[name].double(), file.tensors[name].double()
        if a.ndim == 1:
            assert torch.allclose(a, b, rtol=0, atol=2e-7), name
        else:
            assert float((a - b).norm() / a.norm()) < bound, name


# ------------------------------------------------------------------------------------------------ what does not fit


def config(**more):
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-6, **BASE, **more}


def llama(layers=1):
    shapes = {"model.embed_tokens.weight": (97, 64), "model.norm.weight": (64,), "lm_head.weight": (97, 64)}
    for layer in range(layers):
        block = f"model.layers.{layer}."
        shapes |= {block + "self_attn.q_proj.weight": (64, 64), block + "self_attn.k_proj.weight": (32, 64)}
    return Held({name: torch.zeros(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mamba"}, "config.json: model_type: expected one of llama"),
        ({"hidden_act": "relu"}, "config.json: hidden_act: expected one of silu, swish, got relu"),
        ({"sliding_window": 16}, "config.json: sliding_window: expected one of None, got 16"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_parameters: expected one of default, linear, yarn, llama3, got dynamic"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "attention_factor": 3.0}}, "attention_factor: expected 1.069315, got 3.0"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 1.0, got 0.5"),
        ({"rms_norm_eps": None}, "expected a 'rms_norm_eps', got none"),
        ({"vocab_size": None}, "expected a 'vocab_size'"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window: expected one of False, None, got True"),
        ({"model_type": "gemma2", "sliding_window": 4, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 99}, "query_pre_attn_scalar: expected 16, got 99"),
        ({"model_type": "gemma3_text", "sliding_window": 4, "query_pre_attn_scalar": 16, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}, "layer_types: expected full attention in every n-th layer"),
    ],
)  # fmt: skip
def test_settings_that_the_format_has_no_place_for_are_refused(change, said):
    with pytest.raises(DataError) as error:
        planned(config(**change), llama(), "f32", "config.json")
    assert said in str(error.value)


def test_tensors_that_the_format_has_no_place_for_are_named():
    tensors = dict(llama()) | {"model.layers.0.adapter.weight": torch.zeros(3), "score.weight": torch.zeros(2, 64)}
    with pytest.raises(DataError, match=r"tensors of llama, got model\.layers\.0\.adapter\.weight, score\.weight"):
        planned(config(), Held(tensors), "f32", "config.json")


def file_of(path, change=None, tensors=None):
    metadata, plan = planned(config(num_hidden_layers=1), llama(), "f32", "config.json")
    metadata |= change or {}
    write(path, {key: value for key, value in metadata.items() if value is not None}, plan + (tensors or []))
    return path


def extra(name, shape):
    from yanmo.models.gguf.encodings import BY_NAME

    return Planned(name, BY_NAME["F32"], shape, lambda: np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"general.architecture": "mamba"}, "general.architecture: expected one of"),
        ({"general.architecture": 7}, "general.architecture: expected one of"),
        ({"llama.block_count": None}, "expected a 'llama.block_count', got none"),
        ({"llama.block_count": 1.5}, "llama.block_count: expected a number of at least 1, got 1.5"),
        ({"llama.block_count": 10**9}, "num_hidden_layers: expected a whole number from 0 to"),
        ({"llama.attention.head_count": [4, 2]}, "the same for every layer"),
        ({"llama.attention.head_count": 5}, "blk.0.attn_q.weight: expected rows for 5 heads, got 64"),
        ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count: expected 16, got 8"),
        ({"llama.rope.scaling.type": "longrope", "llama.rope.scaling.factor": 2.0}, "rope.scaling: expected one of none, linear, yarn, got longrope"),
        ({"split.count": 3}, "expected a whole model, got one of 3 parts"),
        ({"llama.context_length": 1 << 30}, "max_position_embeddings: expected a whole number"),
    ],
)  # fmt: skip
def test_files_that_describe_no_model_of_ours(tmp_path, change, said):
    with pytest.raises((DataError, CorruptError)) as error:
        load(file_of(tmp_path / "m.gguf", change))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_tensors_that_the_architecture_does_not_have_are_named(tmp_path):
    with pytest.raises(DataError, match=r"tensors of llama, got blk\.0\.ssm_a\.weight"):
        load(file_of(tmp_path / "m.gguf", tensors=[extra("blk.0.ssm_a.weight", (4,))]))


def test_factors_that_are_no_scaling_we_know(tmp_path):
    with pytest.raises(DataError, match="the factors of Llama 3's scaling in rope_freqs"):
        load(file_of(tmp_path / "m.gguf", tensors=[extra("rope_freqs.weight", (8,))]))


def test_a_missing_tensor_is_said_by_its_published_name(tmp_path):
    with pytest.raises(DataError, match=r"missing: .*v_proj"):
        load(file_of(tmp_path / "m.gguf"))


def test_a_value_that_is_not_finite_is_named(tmp_path):
    tensors = dict(llama())
    tensors["model.norm.weight"][3] = torch.nan
    metadata, plan = planned(config(num_hidden_layers=1), Held(tensors), "f32", "config.json")
    write(tmp_path / "m.gguf", metadata, plan)
    with pytest.raises(CorruptError, match=r"1 values of output_norm\.weight are NaN or infinite"):
        opened(tmp_path / "m.gguf").tensors["model.norm.weight"]


def test_the_tables_name_each_tensor_once():
    for kind in (*ALL, *EXPORTED.values()):
        assert len(set(kind.names.values())) == len(kind.names)
        assert set(kind.changes) <= set(kind.names)
        assert len({key for key, _, _ in kind.settings}) == len(kind.settings)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    assert file_of(tmp_path / "a.gguf").read_bytes() == file_of(tmp_path / "b.gguf").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "a.gguf").read_bytes()
    assert Gguf(tmp_path / "a.gguf").metadata["general.file_type"] == 0
