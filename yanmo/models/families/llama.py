"""Llama (Touvron et al. 2023, arXiv:2302.13971): our Transformer with SwiGLU and without QK-norm."""

from __future__ import annotations

from typing import Any, ClassVar

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.families.family import Family, Names, needs, refuse
from yanmo.models.transformer import Transformer, TransformerModel

TENSORS = {
    "attention_norm.weight": ("input_layernorm.weight",),
    "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "attention.q_norm.weight": ("self_attn.q_norm.weight",),
    "attention.k_norm.weight": ("self_attn.k_norm.weight",),
    "mlp_norm.weight": ("post_attention_layernorm.weight",),
    "mlp.gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "mlp.down.weight": ("mlp.down_proj.weight",),
}  # of one block


class LlamaFamily(Family):
    """Llama: our Transformer without QK-norm."""

    causal, labels = "LlamaForCausalLM", "LlamaForSequenceClassification"
    model_type, qk_norm = "llama", False
    # What our module computes; a published config that says otherwise is refused. The first is what its absence means.
    known: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu", "swish"), "attention_bias": (False,), "mlp_bias": (False,), "rope_scaling": (None,),
        "use_sliding_window": (False,), "partial_rotary_factor": (1.0,),
    }  # fmt: skip

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
            "rms_norm_eps": p.norm_eps,
            "rope_theta": p.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": p.rope_theta},
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": p.tie,
            "dtype": "float32",
            "yanmo": {"dropout": p.dropout},
        }

    def build(self, config: dict[str, Any], place: str, head: bool) -> Transformer:
        needs(config, place, "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
              "max_position_embeddings")  # fmt: skip
        refuse(config, place, self.known)
        rope = config.get("rope_parameters") or {}
        refuse(rope, f"{place}: rope_parameters", {"rope_type": ("default",), "partial_rotary_factor": (1.0,)})
        theta = rope.get("rope_theta") or config.get("rope_theta")
        try:
            part = TransformerModel(
                depth=config["num_hidden_layers"], width=config["hidden_size"], heads=config["num_attention_heads"],
                kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
                head_size=config.get("head_dim"), mlp="swiglu", mlp_width=config["intermediate_size"],
                qk_norm=self.qk_norm, tie=not head or bool(config.get("tie_word_embeddings", False)),
                rope_theta=theta or 10_000.0, context=config["max_position_embeddings"],
                dropout=(config.get("yanmo") or {}).get("dropout", 0.0), norm_eps=config.get("rms_norm_eps", 1e-6),
            )  # fmt: skip
        except ValueError as error:
            raise DataError(place, text("sizes that fit together"), " ".join(str(error).split())) from None
        return Transformer(part, config["vocab_size"])

    def names(self, model: Transformer) -> Names:
        found: Names = {"embedding.weight": ("model.embed_tokens.weight",), "norm.weight": ("model.norm.weight",)}
        for layer in range(len(model.blocks)):
            for ours, theirs in TENSORS.items():
                if self.qk_norm or not ours.endswith(("q_norm.weight", "k_norm.weight")):
                    found[f"blocks.{layer}.{ours}"] = tuple(f"model.layers.{layer}.{name}" for name in theirs)
        if model.head is not None:
            found["head.weight"] = ("lm_head.weight",)
        return found

    def ignored(self, names: Names) -> frozenset[str]:
        return frozenset() if "head.weight" in names else frozenset({"lm_head.weight"})
