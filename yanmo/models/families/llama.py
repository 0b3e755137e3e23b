"""Llama (Touvron et al. 2023, arXiv:2302.13971) and what is built alike: our Transformer with SwiGLU, without QK-norm."""

from __future__ import annotations

from typing import Any, ClassVar

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.families import rotary
from yanmo.models.families.family import Family, Names, needs, refuse
from yanmo.models.transformer import Transformer, TransformerModel

TENSORS = {
    "attention_norm.weight": ("input_layernorm.weight",),
    "attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "attention.qkv.bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "attention.q_norm.weight": ("self_attn.q_norm.weight",),
    "attention.k_norm.weight": ("self_attn.k_norm.weight",),
    "mlp_norm.weight": ("post_attention_layernorm.weight",),
    "mlp.gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "mlp.down.weight": ("mlp.down_proj.weight",),
}  # of one block
DECODER: dict[str, Any] = {
    "architecture": "decoder", "norm.type": "rms", "norm.offset": False, "norm_at": "pre", "position.type": "rotary",
    "position.share": 1.0, "position.local_theta": None, "attention.softcap": None, "attention.scale": None,
    "attention.sinks": 0, "attention.full_every": None, "embedding.scale": False, "embedding.norm": False,
    "embedding.types": 0, "head.transform": False, "head.bias": False, "head.softcap": None, "head.scale": None,
    "head.pooler": False, "bias": "none", "qk_norm": False, "mlp.type": "swiglu", "attention.window": None,
}  # fmt: skip


class LlamaFamily(Family):
    """Llama: our Transformer without QK-norm."""

    causal, labels = "LlamaForCausalLM", "LlamaForSequenceClassification"
    model_type = "llama"
    fixed: ClassVar[dict[str, Any] | None] = DECODER
    tensors: ClassVar[dict[str, tuple[str, ...]]] = TENSORS
    theta: ClassVar[float] = 10_000.0  # where config.json gives none
    tied: ClassVar[bool] = False  # likewise
    # What our module computes; a published config that says otherwise is refused. The first is what its absence means.
    known: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu", "swish"), "attention_bias": (False,), "mlp_bias": (False,), "use_sliding_window": (False,),
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
            "rms_norm_eps": p.norm.eps,
            **rotary.described(p.position, p.context),
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": p.tie,
            "dtype": "float32",
            "yanmo": {"dropout": p.dropout},
        }

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        """The settings of our Transformer that config.json describes."""
        return {
            "depth": config["num_hidden_layers"], "width": config["hidden_size"], "heads": config["num_attention_heads"],
            "kv_heads": config.get("num_key_value_heads") or config["num_attention_heads"],
            "head_size": config.get("head_dim"), "mlp": "swiglu", "mlp_width": config["intermediate_size"],
            "qk_norm": False, "tie": not head or bool(config.get("tie_word_embeddings", self.tied)),
            "position": rotary.position(config, place, self.theta), "context": config["max_position_embeddings"],
            "dropout": (config.get("yanmo") or {}).get("dropout", 0.0),
            "norm": {"type": "rms", "eps": config.get("rms_norm_eps", 1e-6)},
        }  # fmt: skip

    def build(self, config: dict[str, Any], place: str, head: bool) -> Transformer:
        needs(config, place, "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
              "max_position_embeddings")  # fmt: skip
        refuse(config, place, self.known)
        try:
            part = TransformerModel(**self.settings(config, place, head))
        except ValueError as error:
            raise DataError(place, text("sizes that fit together"), " ".join(str(error).split())) from None
        return Transformer(part, config["vocab_size"])

    def names(self, model: Transformer) -> Names:
        found: Names = {"embedding.weight": ("model.embed_tokens.weight",), "stack.norm.weight": ("model.norm.weight",)}
        has = dict(model.stack.blocks[0].named_parameters())
        for layer in range(len(model.stack.blocks)):
            for ours, theirs in self.tensors.items():
                if ours in has:
                    found[f"stack.blocks.{layer}.{ours}"] = tuple(f"model.layers.{layer}.{name}" for name in theirs)
        if model.head is not None:
            found["head.weight"] = ("lm_head.weight",)
        return found

    def ignored(self, names: Names) -> frozenset[str]:
        return frozenset() if "head.weight" in names else frozenset({"lm_head.weight"})
