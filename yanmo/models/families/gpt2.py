"""GPT-2 (Radford et al. 2019): learned positions, layer norms, GELU, a bias everywhere. It keeps its matrices the other way
round (Conv1D). GPT-NeoX (Black et al. 2022, arXiv:2204.06745): attention and feed-forward side by side, rotary positions on
a part of each head; it keeps queries, keys and values head by head."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from yanmo.models.families import rotary
from yanmo.models.families.family import Names
from yanmo.models.families.published import PLAIN, PublishedFamily, besides, dropout, weighted
from yanmo.models.transformer import Transformer


class Gpt2Family(PublishedFamily):
    """GPT-2."""

    causal, labels = "GPT2LMHeadModel", "GPT2ForSequenceClassification"
    model_type = "gpt2"
    tags = "classifier"
    whole_heads = True
    prefix = "transformer."
    fixed: ClassVar[dict[str, Any] | None] = besides(
        PLAIN, norm__type="layer", norm__bias=True, bias="all", mlp__type="gelu_tanh", position__type="learned",
        position__offset=0,
    )  # fmt: skip
    needed = ("n_embd", "n_layer", "n_head", "n_positions")
    known: ClassVar[dict[str, tuple[Any, ...]]] = {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"), "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,), "reorder_and_upcast_attn": (False, True), "add_cross_attention": (False,),
    }  # fmt: skip
    whole: ClassVar[dict[str, tuple[str, ...]]] = {
        "embedding.weight": ("transformer.wte.weight",),
        "stack.position.table.weight": ("transformer.wpe.weight",),
        "stack.norm.weight": ("transformer.ln_f.weight",),
        "stack.norm.bias": ("transformer.ln_f.bias",),
        "head.weight": ("lm_head.weight",),
    }
    layers = "transformer.h.{}."
    block: ClassVar[dict[str, tuple[str, ...]]] = weighted(
        {
            "attention_norm": ("ln_1",), "attention.qkv": ("attn.c_attn",), "attention.out": ("attn.c_proj",),
            "mlp_norm": ("ln_2",), "mlp.up": ("mlp.c_fc",), "mlp.down": ("mlp.c_proj",),
        }
    )  # fmt: skip

    def config(self, model: Transformer) -> dict[str, Any]:
        p = model.part
        return {
            "model_type": self.model_type, "vocab_size": model.vocabulary, "n_positions": p.context, "n_embd": p.width,
            "n_layer": p.depth, "n_head": p.heads, "n_inner": p.mlp_width, "activation_function": "gelu_new",
            "resid_pdrop": p.dropout, "embd_pdrop": p.dropout, "attn_pdrop": 0.0, "layer_norm_epsilon": p.norm.eps,
            "tie_word_embeddings": p.tie, "dtype": "float32",
        }  # fmt: skip

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        return {
            "depth": config["n_layer"], "width": config["n_embd"], "heads": config["n_head"], "context": config["n_positions"],
            "mlp": "gelu_tanh", "mlp_width": config.get("n_inner") or 4 * config["n_embd"], "bias": "all", "qk_norm": False,
            "norm": {"type": "layer", "eps": config.get("layer_norm_epsilon", 1e-5)}, "position": "learned",
            "tie": not head or config.get("tie_word_embeddings", True), "dropout": dropout(config, "resid_pdrop"),
        }  # fmt: skip

    def published(self, model: Any, ours: str, value: Tensor) -> Tensor:
        return value.T if ours.startswith("stack.blocks.") and value.ndim == 2 else value

    taken = published

    def ignored(self, names: Names) -> frozenset[str]:
        layers = {name.split(".")[2] for theirs in names.values() for name in theirs if name.startswith("transformer.h.")}
        copies = {f"transformer.h.{layer}.attn.{name}" for layer in layers for name in ("bias", "masked_bias")}
        return frozenset(copies if "head.weight" in names else copies | {"lm_head.weight"})


class GptNeoxFamily(PublishedFamily):
    """GPT-NeoX and Pythia."""

    causal, labels = "GPTNeoXForCausalLM", "GPTNeoXForSequenceClassification"
    model_type = "gpt_neox"
    tags = "classifier"
    whole_heads = True
    prefix = "gpt_neox."
    fixed: ClassVar[dict[str, Any] | None] = besides(
        PLAIN, norm__type="layer", norm__bias=True, norm_at="parallel", bias="all", mlp__type="gelu", position__type="rotary",
        position__local_theta=None,
    )  # fmt: skip
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
    known: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("gelu",), "use_parallel_residual": (True,), "attention_bias": (True,),
    }  # fmt: skip
    whole: ClassVar[dict[str, tuple[str, ...]]] = {
        "embedding.weight": ("gpt_neox.embed_in.weight",),
        "stack.norm.weight": ("gpt_neox.final_layer_norm.weight",),
        "stack.norm.bias": ("gpt_neox.final_layer_norm.bias",),
        "head.weight": ("embed_out.weight",),
    }
    layers = "gpt_neox.layers.{}."
    block: ClassVar[dict[str, tuple[str, ...]]] = weighted(
        {
            "attention_norm": ("input_layernorm",), "attention.qkv": ("attention.query_key_value",),
            "attention.out": ("attention.dense",), "mlp_norm": ("post_attention_layernorm",),
            "mlp.up": ("mlp.dense_h_to_4h",), "mlp.down": ("mlp.dense_4h_to_h",),
        }
    )  # fmt: skip

    def config(self, model: Transformer) -> dict[str, Any]:
        p = model.part
        return {
            "model_type": self.model_type, "vocab_size": model.vocabulary, "hidden_size": p.width,
            "num_hidden_layers": p.depth, "num_attention_heads": p.heads, "intermediate_size": p.mlp_width,
            "hidden_act": "gelu", "max_position_embeddings": p.context, "layer_norm_eps": p.norm.eps,
            "use_parallel_residual": True, "attention_bias": True, "rotary_pct": p.position.share,
            **rotary.described(p.position, p.context), "hidden_dropout": p.dropout, "attention_dropout": 0.0,
            "tie_word_embeddings": p.tie, "dtype": "float32",
        }  # fmt: skip

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        told = config.get("rotary_pct") or (config.get("rope_parameters") or {}).get("partial_rotary_factor")
        config = config if told else {**config, "rotary_pct": 0.25}
        base = config.get("rotary_emb_base") or 10_000.0
        return {
            "depth": config["num_hidden_layers"], "width": config["hidden_size"], "heads": config["num_attention_heads"],
            "context": config["max_position_embeddings"], "mlp": "gelu", "mlp_width": config["intermediate_size"], "bias": "all",
            "qk_norm": False, "norm": {"type": "layer", "eps": config.get("layer_norm_eps", 1e-5)}, "norm_at": "parallel",
            "position": rotary.position(config, place, base), "tie": not head or bool(config.get("tie_word_embeddings", False)),
            "dropout": dropout(config, "hidden_dropout"),
        }  # fmt: skip

    def published(self, model: Any, ours: str, value: Tensor) -> Tensor:
        """Three blocks of heads become one block of three a head."""
        if ".attention.qkv." not in ours:
            return value
        return value.unflatten(0, (3, model.part.heads, -1)).transpose(0, 1).flatten(0, 2)

    def taken(self, model: Any, ours: str, value: Tensor) -> Tensor:
        if ".attention.qkv." not in ours:
            return value
        return value.unflatten(0, (model.part.heads, 3, -1)).transpose(0, 1).flatten(0, 2)

    def ignored(self, names: Names) -> frozenset[str]:
        return frozenset() if "head.weight" in names else frozenset({"embed_out.weight", "lm_head.weight"})
