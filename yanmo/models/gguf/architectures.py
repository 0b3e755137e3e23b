"""Which models GGUF and the published folders have in common, what each calls a tensor and a setting, and what of a tensor
lies otherwise in the file. Tables; `settings.py` and `model.py` read them.

A name stands without its `.weight` or `.bias`, which are the same on both sides; `{layer}` and `{expert}` count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Config = Mapping[str, Any]
REQUIRED = object()


@dataclass(frozen=True)
class Change:
    """How a tensor lies in the file if not as published: `into` the file, and `back`."""

    into: Callable[[Tensor, Config], Tensor]
    back: Callable[[Tensor, Config], Tensor]
    turned: bool = False  # the shape is reversed


def _interleave(x: Tensor, heads: int) -> Tensor:
    """Rotary pairs: published as (i, i + half) of a head's rows, in the file as neighbours."""
    return x.reshape(heads, 2, -1, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def _part(x: Tensor, heads: int) -> Tensor:
    return x.reshape(heads, -1, 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def _kv(config: Config) -> int:
    return config.get("num_key_value_heads") or config["num_attention_heads"]


QUERIES = Change(lambda x, c: _interleave(x, c["num_attention_heads"]), lambda x, c: _part(x, c["num_attention_heads"]))
KEYS = Change(lambda x, c: _interleave(x, _kv(c)), lambda x, c: _part(x, _kv(c)))
TRANSPOSED = Change(lambda x, c: x.t(), lambda x, c: x.t(), turned=True)
# Published as query, key and value of each head in turn, in the file as all queries, all keys, all values.
HEADED = Change(lambda x, c: x.unflatten(0, (c["num_attention_heads"], 3, -1)).transpose(0, 1).flatten(0, 2),
                lambda x, c: x.unflatten(0, (3, c["num_attention_heads"], -1)).transpose(0, 1).flatten(0, 2))  # fmt: skip
SHIFTED = Change(lambda x, c: x + 1, lambda x, c: x - 1)  # published as what is added to 1


@dataclass(frozen=True)
class Architecture:
    """`settings`: (published, in the file, default) of each setting that is in both as it is; `means`: for settings that the
    file does not have, the values it stands for (the first is what is read); `names`: in the file → published."""

    name: str
    model_type: str
    model_class: str
    settings: tuple[tuple[str, str, Any], ...]
    means: dict[str, tuple[Any, ...]]
    names: dict[str, str]
    changes: dict[str, Change] = field(default_factory=dict)  # by the file's name for the tensor
    prefix: str = ""  # of the published names, which some folders leave out
    ignored: tuple[str, ...] = ()  # published tensors that follow from others or that the file has no place for

    def change(self, stem: str, suffix: str) -> Change | None:
        """How `stem.suffix` lies otherwise; a bias has nothing to turn."""
        change = self.changes.get(stem)
        return None if change is TRANSPOSED and suffix == "bias" else change


SIZES = (
    ("num_hidden_layers", "block_count", REQUIRED),
    ("max_position_embeddings", "context_length", REQUIRED),
    ("hidden_size", "embedding_length", REQUIRED),
    ("intermediate_size", "feed_forward_length", REQUIRED),
    ("num_attention_heads", "attention.head_count", REQUIRED),
)
DECODER = (
    *SIZES,
    ("num_key_value_heads", "attention.head_count_kv", None),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon", REQUIRED),
)
EXPERTS = (("num_experts_per_tok", "expert_used_count", REQUIRED),)

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = "model.layers.{layer}."
_ATTENTION = {
    "blk.{layer}.attn_norm": _LAYER + "input_layernorm",
    "blk.{layer}.attn_q": _LAYER + "self_attn.q_proj",
    "blk.{layer}.attn_k": _LAYER + "self_attn.k_proj",
    "blk.{layer}.attn_v": _LAYER + "self_attn.v_proj",
    "blk.{layer}.attn_output": _LAYER + "self_attn.o_proj",
}
_HEAD_NORMS = {
    "blk.{layer}.attn_q_norm": _LAYER + "self_attn.q_norm",
    "blk.{layer}.attn_k_norm": _LAYER + "self_attn.k_norm",
}
_MLP = {
    "blk.{layer}.ffn_gate": _LAYER + "mlp.gate_proj",
    "blk.{layer}.ffn_up": _LAYER + "mlp.up_proj",
    "blk.{layer}.ffn_down": _LAYER + "mlp.down_proj",
}
_MLP_NORM = {"blk.{layer}.ffn_norm": _LAYER + "post_attention_layernorm"}
_GEMMA_NORMS = {
    "blk.{layer}.post_attention_norm": _LAYER + "post_attention_layernorm",
    "blk.{layer}.ffn_norm": _LAYER + "pre_feedforward_layernorm",
    "blk.{layer}.post_ffw_norm": _LAYER + "post_feedforward_layernorm",
}
_ROTARY = {"blk.{layer}.attn_q": QUERIES, "blk.{layer}.attn_k": KEYS}

SILU = {"hidden_act": ("silu", "swish")}
NO_WINDOW = {"sliding_window": (None,)}
UNUSED_WINDOW = {"use_sliding_window": (False, None)}
GELU_TANH = {"hidden_activation": ("gelu_pytorch_tanh", "gelu_tanh"), "attention_bias": (False, None)}
INVERSES = (".rotary_emb.inv_freq",)


def _gemma(name: str, model_type: str, model_class: str, settings: tuple[tuple[str, str, Any], ...], more: dict[str, str],
           means: dict[str, tuple[Any, ...]]) -> Architecture:  # fmt: skip
    names = {**_OUTER, **_ATTENTION, **more, **_MLP, **_GEMMA_NORMS}
    window = ("sliding_window", "attention.sliding_window", REQUIRED)
    return Architecture(name, model_type, model_class, (*DECODER, window, *settings), GELU_TANH | means, names,
                        {norm: SHIFTED for norm in names if norm.endswith("norm")}, "model.", INVERSES)  # fmt: skip


LLAMA = Architecture("llama", "llama", "LlamaForCausalLM", DECODER, SILU | NO_WINDOW,
                     {**_OUTER, **_ATTENTION, **_MLP, **_MLP_NORM}, _ROTARY, "model.", INVERSES)  # fmt: skip
MIXTRAL = Architecture(
    "llama", "mixtral", "MixtralForCausalLM",
    (*DECODER, ("num_local_experts", "expert_count", REQUIRED), *EXPERTS), SILU | NO_WINDOW,
    {
        **_OUTER, **_ATTENTION, **_MLP_NORM,
        "blk.{layer}.ffn_gate_inp": _LAYER + "block_sparse_moe.gate",
        "blk.{layer}.ffn_gate_exps": _LAYER + "block_sparse_moe.experts.{expert}.w1",
        "blk.{layer}.ffn_up_exps": _LAYER + "block_sparse_moe.experts.{expert}.w3",
        "blk.{layer}.ffn_down_exps": _LAYER + "block_sparse_moe.experts.{expert}.w2",
    },
    _ROTARY, "model.", INVERSES,
)  # fmt: skip
QWEN2 = Architecture("qwen2", "qwen2", "Qwen2ForCausalLM", DECODER, SILU | UNUSED_WINDOW,
                     {**_OUTER, **_ATTENTION, **_MLP, **_MLP_NORM}, prefix="model.", ignored=INVERSES)  # fmt: skip
QWEN3 = Architecture("qwen3", "qwen3", "Qwen3ForCausalLM", DECODER, SILU | UNUSED_WINDOW | {"attention_bias": (False, None)},
                     {**_OUTER, **_ATTENTION, **_HEAD_NORMS, **_MLP, **_MLP_NORM}, prefix="model.", ignored=INVERSES)  # fmt: skip
QWEN3_MOE = Architecture(
    "qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM",
    (*DECODER, ("num_experts", "expert_count", REQUIRED), *EXPERTS,
     ("moe_intermediate_size", "expert_feed_forward_length", REQUIRED)),
    SILU | UNUSED_WINDOW | {"attention_bias": (False, None), "norm_topk_prob": (True,), "decoder_sparse_step": (1, None)},
    {
        **_OUTER, **_ATTENTION, **_HEAD_NORMS, **_MLP_NORM,
        "blk.{layer}.ffn_gate_inp": _LAYER + "mlp.gate",
        "blk.{layer}.ffn_gate_exps": _LAYER + "mlp.experts.{expert}.gate_proj",
        "blk.{layer}.ffn_up_exps": _LAYER + "mlp.experts.{expert}.up_proj",
        "blk.{layer}.ffn_down_exps": _LAYER + "mlp.experts.{expert}.down_proj",
    },
    prefix="model.", ignored=INVERSES,
)  # fmt: skip
GEMMA2 = _gemma("gemma2", "gemma2", "Gemma2ForCausalLM",
                (("attn_logit_softcapping", "attn_logit_softcapping", REQUIRED),
                 ("final_logit_softcapping", "final_logit_softcapping", REQUIRED)), {}, {})  # fmt: skip
GEMMA3 = _gemma("gemma3", "gemma3_text", "Gemma3ForCausalLM", (), _HEAD_NORMS,
                {"attn_logit_softcapping": (None,), "final_logit_softcapping": (None,),
                 "use_bidirectional_attention": (False, None)})  # fmt: skip
_H = "transformer.h.{layer}."
GPT2 = Architecture(
    "gpt2", "gpt2", "GPT2LMHeadModel",
    (("n_layer", "block_count", REQUIRED), ("n_positions", "context_length", REQUIRED), ("n_embd", "embedding_length", REQUIRED),
     ("n_inner", "feed_forward_length", None), ("n_head", "attention.head_count", REQUIRED),
     ("layer_norm_epsilon", "attention.layer_norm_epsilon", REQUIRED)),
    {"activation_function": ("gelu_new", "gelu_pytorch_tanh"), "scale_attn_weights": (True, None),
     "scale_attn_by_inverse_layer_idx": (False, None), "reorder_and_upcast_attn": (False, None)},
    {
        "token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f",
        "output": "lm_head", "blk.{layer}.attn_norm": _H + "ln_1", "blk.{layer}.attn_qkv": _H + "attn.c_attn",
        "blk.{layer}.attn_output": _H + "attn.c_proj", "blk.{layer}.ffn_norm": _H + "ln_2",
        "blk.{layer}.ffn_up": _H + "mlp.c_fc", "blk.{layer}.ffn_down": _H + "mlp.c_proj",
    },
    {f"blk.{{layer}}.{stem}": TRANSPOSED for stem in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")},
    "transformer.", (".attn.masked_bias", ".attn.bias"),
)  # fmt: skip
_N = "gpt_neox.layers.{layer}."
GPT_NEOX = Architecture(
    "gptneox", "gpt_neox", "GPTNeoXForCausalLM",
    (*SIZES, ("layer_norm_eps", "attention.layer_norm_epsilon", REQUIRED)),
    {"hidden_act": ("gelu",), "attention_bias": (True, None)},
    {
        "token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm", "output": "embed_out",
        "blk.{layer}.attn_norm": _N + "input_layernorm", "blk.{layer}.attn_qkv": _N + "attention.query_key_value",
        "blk.{layer}.attn_output": _N + "attention.dense", "blk.{layer}.ffn_norm": _N + "post_attention_layernorm",
        "blk.{layer}.ffn_up": _N + "mlp.dense_h_to_4h", "blk.{layer}.ffn_down": _N + "mlp.dense_4h_to_h",
    },
    {"blk.{layer}.attn_qkv": HEADED},
    "gpt_neox.", (".attention.masked_bias", ".attention.bias", *INVERSES),
)  # fmt: skip
_E, _B = "embeddings.", "encoder.layer.{layer}."
BERT = Architecture(
    "bert", "bert", "BertModel",
    (*SIZES, ("layer_norm_eps", "attention.layer_norm_epsilon", REQUIRED)),
    {"hidden_act": ("gelu",), "position_embedding_type": ("absolute", None), "is_decoder": (False, None)},
    {
        "token_embd": _E + "word_embeddings", "position_embd": _E + "position_embeddings",
        "token_types": _E + "token_type_embeddings", "token_embd_norm": _E + "LayerNorm",
        "blk.{layer}.attn_q": _B + "attention.self.query", "blk.{layer}.attn_k": _B + "attention.self.key",
        "blk.{layer}.attn_v": _B + "attention.self.value", "blk.{layer}.attn_output": _B + "attention.output.dense",
        "blk.{layer}.attn_output_norm": _B + "attention.output.LayerNorm", "blk.{layer}.ffn_up": _B + "intermediate.dense",
        "blk.{layer}.ffn_down": _B + "output.dense", "blk.{layer}.layer_output_norm": _B + "output.LayerNorm",
    },
    prefix="bert.", ignored=("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"),
)  # fmt: skip

ALL = (LLAMA, MIXTRAL, QWEN2, QWEN3, QWEN3_MOE, GEMMA2, GEMMA3, GPT2, GPT_NEOX, BERT)
EXPORTED = {architecture.model_type: architecture for architecture in ALL} | {"mistral": LLAMA}
READ = {architecture.name: architecture for architecture in reversed(ALL)}  # "llama": without experts; see settings.py
