"""BART (Lewis et al. 2020, arXiv:1910.13461): an encoder and a decoder with learned positions, norms behind each layer, GELU
and a bias everywhere; its table of positions begins with two rows that stand for none."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from yanmo.models.composition import Bias, EmbeddingSettings, HeadSettings, Mlp, Norm, NormAt, Position
from yanmo.models.families.family import Names, refuse
from yanmo.models.families.published import PLAIN, PublishedFamily, besides, dropout, weighted
from yanmo.models.transformer import Transformer, TransformerModel
from yanmo.nn.mlp import Gelu
from yanmo.nn.norm import Layer
from yanmo.nn.position import LearnedPosition

BLOCK = weighted(
    {
        "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "attention.out": ("self_attn.out_proj",),
        "attention_norm": ("self_attn_layer_norm",), "mlp.up": ("fc1",), "mlp.down": ("fc2",), "mlp_norm": ("final_layer_norm",),
        "cross.q": ("encoder_attn.q_proj",), "cross.kv": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
        "cross.out": ("encoder_attn.out_proj",), "cross_norm": ("encoder_attn_layer_norm",),
    }
)  # fmt: skip


class BartModel(TransformerModel):
    """BART from scratch: an encoder and a decoder with the published parts, which other programs open."""

    type: str = "bart"
    architecture: Literal["encoder-decoder"] = "encoder-decoder"
    qk_norm: bool = False
    bias: Bias = "all"
    mlp: Mlp = Gelu()
    norm: Norm = Layer()
    norm_at: NormAt = "post"
    position: Position = LearnedPosition(offset=2)
    embedding: EmbeddingSettings = EmbeddingSettings(norm=True)
    head: HeadSettings = HeadSettings(bias=True)


class BartFamily(PublishedFamily):
    """BART."""

    causal, labels = "BartForConditionalGeneration", ""
    model_type = "bart"
    whole_heads = True
    fixed: ClassVar[dict[str, Any] | None] = besides(
        PLAIN, "embedding.scale", architecture="encoder-decoder", norm__type="layer", norm__bias=True, norm_at="post", bias="all",
        mlp__type="gelu", position__type="learned", position__offset=2, embedding__norm=True, head__bias=True, tie=True,
    )  # fmt: skip
    needed = ("d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads", "encoder_ffn_dim",
              "max_position_embeddings")  # fmt: skip
    known: ClassVar[dict[str, tuple[Any, ...]]] = {"activation_function": ("gelu",), "tie_word_embeddings": (True,)}
    whole: ClassVar[dict[str, tuple[str, ...]]] = {
        "embedding.weight": ("model.shared.weight",),
        "encoder.position.table.weight": ("model.encoder.embed_positions.weight",),
        "encoder_embedding_norm.weight": ("model.encoder.layernorm_embedding.weight",),
        "encoder_embedding_norm.bias": ("model.encoder.layernorm_embedding.bias",),
        "stack.position.table.weight": ("model.decoder.embed_positions.weight",),
        "embedding_norm.weight": ("model.decoder.layernorm_embedding.weight",),
        "embedding_norm.bias": ("model.decoder.layernorm_embedding.bias",),
        "head_bias": ("final_logits_bias",),
    }
    layers, encoder_layers = "model.decoder.layers.{}.", "model.encoder.layers.{}."
    block: ClassVar[dict[str, tuple[str, ...]]] = BLOCK
    encoder_block: ClassVar[dict[str, tuple[str, ...]]] = BLOCK

    def config(self, model: Transformer) -> dict[str, Any]:
        p: Any = model.part
        sides = {f"{side}_{name}": value for side in ("encoder", "decoder")
                 for name, value in {"attention_heads": p.heads, "ffn_dim": p.mlp_width}.items()}  # fmt: skip
        return {
            "model_type": self.model_type, "vocab_size": model.vocabulary, "d_model": p.width, **sides,
            "encoder_layers": p.depth, "decoder_layers": p.decoder_depth, "max_position_embeddings": p.context,
            "activation_function": "gelu", "dropout": p.dropout, "attention_dropout": 0.0, "activation_dropout": 0.0,
            "scale_embedding": p.embedding.scale, "is_encoder_decoder": True, "forced_eos_token_id": None,
            "tie_word_embeddings": True, "dtype": "float32",
            "yanmo": {"layer_norm_eps": p.norm.eps},
        }  # fmt: skip

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        same = {"decoder_attention_heads": config["encoder_attention_heads"], "decoder_ffn_dim": config["encoder_ffn_dim"]}
        refuse(config, place, {key: (value,) for key, value in same.items()})
        return {
            "architecture": "encoder-decoder", "depth": config["encoder_layers"], "decoder_depth": config["decoder_layers"],
            "width": config["d_model"], "heads": config["encoder_attention_heads"], "context": config["max_position_embeddings"],
            "mlp": "gelu", "mlp_width": config["encoder_ffn_dim"], "bias": "all", "qk_norm": False, "tie": True,
            "norm": {"type": "layer", "eps": (config.get("yanmo") or {}).get("layer_norm_eps", 1e-5)}, "norm_at": "post",
            "position": {"type": "learned", "offset": 2}, "head": {"bias": True}, "dropout": dropout(config, "dropout"),
            "embedding": {"norm": True, "scale": config.get("scale_embedding", False)},
        }  # fmt: skip

    def published(self, model: Any, ours: str, value: Tensor) -> Tensor:
        return value[None] if ours == "head_bias" else value

    def taken(self, model: Any, ours: str, value: Tensor) -> Tensor:
        return value[0] if ours == "head_bias" else value

    def ignored(self, names: Names) -> frozenset[str]:
        return frozenset({"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"})
