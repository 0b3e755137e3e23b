"""Llama (Touvron et al. 2023, arXiv:2302.13971) and what is built alike: our Transformer with SwiGLU, without QK-norm.
Mistral (Jiang et al. 2023, arXiv:2310.06825): with a window."""

from __future__ import annotations

from typing import Any, ClassVar

from yanmo.models.families import rotary
from yanmo.models.families.family import Names
from yanmo.models.families.published import PLAIN, PublishedFamily, besides, dropout
from yanmo.models.reader import Reader
from yanmo.models.transformer import Transformer

DECODER = besides(PLAIN, norm__type="rms", norm__offset=False, position__type="rotary", position__share=1.0,
                  position__local_theta=None, mlp__type="swiglu")  # fmt: skip


class LlamaFamily(PublishedFamily):
    """Llama: our Transformer without QK-norm."""

    causal, labels = "LlamaForCausalLM", "LlamaForSequenceClassification"
    model_type = "llama"
    prefix = "model."
    reader: ClassVar[str] = "transformer."  # what a reader's names begin with instead
    fixed: ClassVar[dict[str, Any] | None] = DECODER
    theta: ClassVar[float] = 10_000.0  # where config.json gives none
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
    known: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu", "swish"), "attention_bias": (False,), "mlp_bias": (False,), "use_sliding_window": (False,),
    }  # fmt: skip
    whole: ClassVar[dict[str, tuple[str, ...]]] = {
        "embedding.weight": ("model.embed_tokens.weight",),
        "stack.norm.weight": ("model.norm.weight",),
        "head.weight": ("lm_head.weight",),
    }
    layers = "model.layers.{}."
    block: ClassVar[dict[str, tuple[str, ...]]] = {
        "attention_norm.weight": ("input_layernorm.weight",),
        "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
        "attention.qkv.bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
        "attention.out.weight": ("self_attn.o_proj.weight",),
        "attention.q_norm.weight": ("self_attn.q_norm.weight",),
        "attention.k_norm.weight": ("self_attn.k_norm.weight",),
        "mlp_norm.weight": ("post_attention_layernorm.weight",),
        "mlp.gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
        "mlp.down.weight": ("mlp.down_proj.weight",),
    }

    def config(self, model: Transformer) -> dict[str, Any]:
        p = model.part
        return {
            "model_type": self.model_type,
            "vocab_size": model.vocabulary,
            "hidden_size": p.width,
            "num_hidden_layers": p.depth,
            "num_attention_heads": p.heads,
            "num_key_value_heads": p.kv_heads,
            "head_dim": p.head_size,
            "intermediate_size": p.mlp_width,
            "hidden_act": "silu",
            "max_position_embeddings": p.context,
            "rms_norm_eps": p.norm.eps,
            **rotary.described(p.position, p.context),
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": p.tie,
            "dtype": "float32",
            "yanmo": {"dropout": p.dropout},
        }

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        return {
            "depth": config["num_hidden_layers"], "width": config["hidden_size"], "heads": config["num_attention_heads"],
            "kv_heads": config.get("num_key_value_heads") or config["num_attention_heads"],
            "head_size": config.get("head_dim"), "mlp": "swiglu", "mlp_width": config["intermediate_size"],
            "qk_norm": False, "tie": not head or bool(config.get("tie_word_embeddings", False)),
            "position": rotary.position(config, place, self.theta), "context": config["max_position_embeddings"],
            "dropout": dropout(config), "norm": {"type": "rms", "eps": config.get("rms_norm_eps", 1e-6)},
        }  # fmt: skip

    def headed_names(self, names: Names, ending: str) -> Names:
        found = super().headed_names(names, ending)
        if ending != Reader.ending:
            return found
        return {ours: tuple(name.replace(self.prefix, self.reader, 1) for name in theirs) for ours, theirs in found.items()}

    def ignored(self, names: Names) -> frozenset[str]:
        return frozenset() if "head.weight" in names else frozenset({"lm_head.weight"})


class MistralFamily(LlamaFamily):
    """Mistral: Llama with a window."""

    causal, labels = "MistralForCausalLM", "MistralForSequenceClassification"
    reader = "model."
    model_type = "mistral"
    fixed: ClassVar[dict[str, Any] | None] = besides(DECODER, "attention.window")

    def config(self, model: Transformer) -> dict[str, Any]:
        return super().config(model) | {"sliding_window": model.part.attention.window}

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        window = config.get("sliding_window", 4096)
        return super().settings(config, place, head) | {"attention": {"window": window}}
