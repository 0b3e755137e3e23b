"""T5 (Raffel et al. 2020, arXiv:1910.10683), 1.0 with ReLU and a tied head, 1.1 with GeGLU and a head of its own: an encoder
and a decoder with relative positions, RMSNorm and no bias."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.composition import AttentionSettings, Mlp, Position
from yanmo.models.families.family import Names
from yanmo.models.families.published import PLAIN, PublishedFamily, besides, dropout
from yanmo.models.transformer import Transformer, TransformerModel
from yanmo.nn.mlp import Geglu
from yanmo.nn.position import RelativePosition

CONTEXT = 512  # relative positions have no bound: what the published ones were trained with


class T5Model(TransformerModel):
    """T5 from scratch: an encoder and a decoder with the published parts, which other programs open."""

    type: str = "t5"
    architecture: Literal["encoder-decoder"] = "encoder-decoder"
    qk_norm: bool = False
    mlp: Mlp = Geglu()
    position: Position = RelativePosition()
    attention: AttentionSettings = AttentionSettings(scale=1.0)
    tie: bool = False


def _block(decoder: bool) -> dict[str, tuple[str, ...]]:
    last = 2 if decoder else 1
    block = {
        "attention_norm.weight": ("layer.0.layer_norm.weight",),
        "attention.qkv.weight": tuple(f"layer.0.SelfAttention.{name}.weight" for name in "qkv"),
        "attention.out.weight": ("layer.0.SelfAttention.o.weight",),
        "mlp_norm.weight": (f"layer.{last}.layer_norm.weight",),
        "mlp.up.weight": (f"layer.{last}.DenseReluDense.wi.weight",),
        "mlp.gate_up.weight": (f"layer.{last}.DenseReluDense.wi_0.weight", f"layer.{last}.DenseReluDense.wi_1.weight"),
        "mlp.down.weight": (f"layer.{last}.DenseReluDense.wo.weight",),
    }
    if decoder:
        block |= {
            "cross_norm.weight": ("layer.1.layer_norm.weight",),
            "cross.q.weight": ("layer.1.EncDecAttention.q.weight",),
            "cross.kv.weight": ("layer.1.EncDecAttention.k.weight", "layer.1.EncDecAttention.v.weight"),
            "cross.out.weight": ("layer.1.EncDecAttention.o.weight",),
        }
    return block


class T5Family(PublishedFamily):
    """T5."""

    causal, labels = "T5ForConditionalGeneration", ""
    model_type = "t5"
    fixed: ClassVar[dict[str, Any] | None] = besides(
        PLAIN, "head.scale", architecture="encoder-decoder", attention__scale=1.0, norm__type="rms", norm__offset=False,
        position__type="relative",
    )  # fmt: skip
    needed = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads")
    whole: ClassVar[dict[str, tuple[str, ...]]] = {
        "embedding.weight": ("shared.weight",),
        "encoder.position.table.weight": ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",),
        "encoder.norm.weight": ("encoder.final_layer_norm.weight",),
        "stack.position.table.weight": ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",),
        "stack.norm.weight": ("decoder.final_layer_norm.weight",),
        "head.weight": ("lm_head.weight",),
    }
    layers, encoder_layers = "decoder.block.{}.", "encoder.block.{}."
    block: ClassVar[dict[str, tuple[str, ...]]] = _block(decoder=True)
    encoder_block: ClassVar[dict[str, tuple[str, ...]]] = _block(decoder=False)

    def fits(self, part: Any) -> bool:
        scaled = part.head.scale is None or (part.tie and part.head.scale == part.width**-0.5)
        return super().fits(part) and part.mlp.type in ("relu", "geglu") and scaled and part.kv_heads == part.heads

    def config(self, model: Transformer) -> dict[str, Any]:
        p: Any = model.part
        return {
            "model_type": self.model_type, "vocab_size": model.vocabulary, "d_model": p.width, "d_kv": p.head_size,
            "d_ff": p.mlp_width, "num_layers": p.depth, "num_decoder_layers": p.decoder_depth, "num_heads": p.heads,
            "relative_attention_num_buckets": p.position.buckets, "relative_attention_max_distance": p.position.distance,
            "dropout_rate": p.dropout, "layer_norm_epsilon": p.norm.eps, "is_encoder_decoder": True,
            "feed_forward_proj": "relu" if p.mlp.type == "relu" else "gated-gelu", "n_positions": p.context,
            "tie_word_embeddings": p.head.scale is not None,  # what `transformers` takes for whether the logits are scaled
            "yanmo": {"tie": p.tie}, "dtype": "float32",
        }  # fmt: skip

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        kind, scaled = config.get("feed_forward_proj", "relu"), config.get("tie_word_embeddings", True)
        if kind not in ("relu", "gated-gelu"):
            raise DataError(f"{place}: feed_forward_proj", text("one of {choices}", choices="relu, gated-gelu"), str(kind))
        tie = (config.get("yanmo") or {}).get("tie", scaled)
        scaled = config.get("scale_decoder_outputs", scaled)
        return {
            "architecture": "encoder-decoder", "depth": config["num_layers"], "width": config["d_model"],
            "decoder_depth": config.get("num_decoder_layers") or config["num_layers"], "heads": config["num_heads"],
            "head_size": config["d_kv"], "mlp": "relu" if kind == "relu" else "geglu", "mlp_width": config["d_ff"],
            "qk_norm": False, "attention": {"scale": 1.0}, "tie": tie, "context": config.get("n_positions") or CONTEXT,
            "norm": {"type": "rms", "eps": config.get("layer_norm_epsilon", 1e-6)},
            "position": {"type": "relative", "buckets": config.get("relative_attention_num_buckets", 32),
                         "distance": config.get("relative_attention_max_distance", 128)},
            "head": {"scale": config["d_model"] ** -0.5 if scaled else None}, "dropout": dropout(config, "dropout_rate"),
        }  # fmt: skip

    def ignored(self, names: Names) -> frozenset[str]:
        copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
        return frozenset(copies if "head.weight" in names else copies | {"lm_head.weight"})
