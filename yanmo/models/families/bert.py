"""BERT (Devlin et al. 2019, arXiv:1810.04805) with and without its next-sentence head, sentence encoders made of it
(MiniLM, arXiv:2002.10957), and RoBERTa (Liu et al. 2019, arXiv:1907.11692), whose positions begin behind the padding's id."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from yanmo.models.composition import Bias, EmbeddingSettings, HeadSettings, Mlp, Norm, NormAt, Position
from yanmo.models.families.family import Names
from yanmo.models.families.published import PLAIN, PublishedFamily, besides, dropout, weighted
from yanmo.models.transformer import Transformer, TransformerModel
from yanmo.nn.mlp import Gelu
from yanmo.nn.norm import Layer
from yanmo.nn.position import LearnedPosition

ENCODER = besides(
    PLAIN, "head.transform", "head.bias", "head.pooler", "head.pairs", architecture="encoder", norm__type="layer",
    norm__bias=True, norm_at="post", bias="all", mlp__type="gelu", position__type="learned", position__offset=0,
    embedding__norm=True, embedding__types=2, tie=True,
)  # fmt: skip


class BertModel(TransformerModel):
    """BERT from scratch: a Transformer encoder with the published parts, which other programs open."""

    type: str = "bert"
    architecture: Literal["encoder"] = "encoder"
    qk_norm: bool = False
    bias: Bias = "all"
    mlp: Mlp = Gelu()
    norm: Norm = Layer(eps=1e-12)
    norm_at: NormAt = "post"
    position: Position = LearnedPosition()
    embedding: EmbeddingSettings = EmbeddingSettings(norm=True, types=2)
    head: HeadSettings = HeadSettings(transform=True, bias=True, pooler=True, pairs=True)


class BertFamily(PublishedFamily):
    """BERT."""

    causal, labels = "BertForPreTraining", "BertForSequenceClassification"
    others: ClassVar[tuple[str, ...]] = ("BertForMaskedLM", "BertModel")
    model_type = "bert"
    whole_heads = True
    prefix = "bert."
    score = tags = "classifier"
    fixed: ClassVar[dict[str, Any] | None] = ENCODER
    offset: ClassVar[int] = 0
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")
    known: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("gelu",), "position_embedding_type": ("absolute",), "is_decoder": (False,),
        "add_cross_attention": (False,),
    }  # fmt: skip
    whole: ClassVar[dict[str, tuple[str, ...]]] = {
        "embedding.weight": ("bert.embeddings.word_embeddings.weight",),
        "stack.position.table.weight": ("bert.embeddings.position_embeddings.weight",),
        "types.weight": ("bert.embeddings.token_type_embeddings.weight",),
        "embedding_norm.weight": ("bert.embeddings.LayerNorm.weight",),
        "embedding_norm.bias": ("bert.embeddings.LayerNorm.bias",),
        "pooler.weight": ("bert.pooler.dense.weight",),
        "pooler.bias": ("bert.pooler.dense.bias",),
        "transform.dense.weight": ("cls.predictions.transform.dense.weight",),
        "transform.dense.bias": ("cls.predictions.transform.dense.bias",),
        "transform.norm.weight": ("cls.predictions.transform.LayerNorm.weight",),
        "transform.norm.bias": ("cls.predictions.transform.LayerNorm.bias",),
        "head_bias": ("cls.predictions.bias",),
        "pairs.weight": ("cls.seq_relationship.weight",),
        "pairs.bias": ("cls.seq_relationship.bias",),
    }
    layers = "bert.encoder.layer.{}."
    block: ClassVar[dict[str, tuple[str, ...]]] = weighted(
        {
            "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
            "attention.out": ("attention.output.dense",), "attention_norm": ("attention.output.LayerNorm",),
            "mlp.up": ("intermediate.dense",), "mlp.down": ("output.dense",), "mlp_norm": ("output.LayerNorm",),
        }
    )  # fmt: skip
    copies: ClassVar[frozenset[str]] = frozenset(
        {"bert.embeddings.position_ids", "embeddings.position_ids", "cls.predictions.decoder.weight",
         "cls.predictions.decoder.bias"}
    )  # fmt: skip
    heads: ClassVar[frozenset[tuple[bool, ...]]] = frozenset(  # transform, bias, pooler, pairs
        {(True, True, True, True), (True, True, False, False), (False, False, True, False), (False, False, False, False)}
    )

    def fits(self, part: Any) -> bool:
        head = (part.head.transform, part.head.bias, part.head.pooler, part.head.pairs)
        return super().fits(part) and head in self.heads

    def labelled(self, part: Any) -> bool:
        return part.head.pooler

    def architecture(self, model: Transformer) -> str:
        if not model.part.head.transform:
            return self.others[-1]
        return self.causal if model.part.head.pairs else self.others[0]

    def config(self, model: Transformer) -> dict[str, Any]:
        p = model.part
        return {
            "model_type": self.model_type, "vocab_size": model.vocabulary, "hidden_size": p.width,
            "num_hidden_layers": p.depth, "num_attention_heads": p.heads, "intermediate_size": p.mlp_width,
            "hidden_act": "gelu", "max_position_embeddings": p.context + self.offset, "type_vocab_size": p.embedding.types,
            "layer_norm_eps": p.norm.eps, "hidden_dropout_prob": p.dropout, "attention_probs_dropout_prob": 0.0,
            "tie_word_embeddings": True, "dtype": "float32",
            "yanmo": {"dropout": p.dropout, "pooler": p.head.pooler},
        }  # fmt: skip

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        return {
            "architecture": "encoder", "depth": config["num_hidden_layers"], "width": config["hidden_size"],
            "heads": config["num_attention_heads"], "context": config["max_position_embeddings"] - self.offset,
            "mlp": "gelu", "mlp_width": config["intermediate_size"], "bias": "all", "qk_norm": False, "tie": True,
            "norm": {"type": "layer", "eps": config.get("layer_norm_eps", 1e-12)}, "norm_at": "post",
            "position": {"type": "learned", "offset": self.offset}, "dropout": dropout(config, "hidden_dropout_prob"),
            "embedding": {"norm": True, "types": config.get("type_vocab_size", 2)}, "head": self.head(config),
        }  # fmt: skip

    def head(self, config: dict[str, Any]) -> dict[str, bool]:
        """The head by the architecture that config.json names: a classifier reads the pooler."""
        name = (config.get("architectures") or [self.causal])[0]
        masked, pairs = name in (self.causal, self.others[0]), name == self.causal
        pooler = name == self.labels or pairs or (name == self.others[-1] and (config.get("yanmo") or {}).get("pooler", True))
        return {"transform": masked, "bias": masked, "pooler": pooler, "pairs": pairs}

    def ignored(self, names: Names) -> frozenset[str]:
        return self.copies


class RobertaFamily(BertFamily):
    """RoBERTa."""

    causal, labels = "RobertaForMaskedLM", "RobertaForSequenceClassification"
    others = ("RobertaForMaskedLM", "RobertaModel")
    model_type = "roberta"
    prefix = "roberta."
    score = "classifier.out_proj"
    offset = 2
    fixed: ClassVar[dict[str, Any] | None] = besides(ENCODER, "embedding.types", position__offset=2)
    heads = BertFamily.heads - {(True, True, True, True)}
    whole: ClassVar[dict[str, tuple[str, ...]]] = {
        **{ours: tuple(name.replace("bert.", "roberta.", 1) for name in theirs) for ours, theirs in BertFamily.whole.items()},
        "transform.dense.weight": ("lm_head.dense.weight",),
        "transform.dense.bias": ("lm_head.dense.bias",),
        "transform.norm.weight": ("lm_head.layer_norm.weight",),
        "transform.norm.bias": ("lm_head.layer_norm.bias",),
        "head_bias": ("lm_head.bias",),
    }
    layers = "roberta.encoder.layer.{}."
    copies = frozenset(
        {"roberta.embeddings.position_ids", "embeddings.position_ids", "lm_head.decoder.weight", "lm_head.decoder.bias"}
    )

    def architecture(self, model: Transformer) -> str:
        return self.causal if model.part.head.transform else self.others[-1]

    def head(self, config: dict[str, Any]) -> dict[str, bool]:
        found = super().head(config)
        return {**found, "pairs": False, "pooler": found["pooler"] and not found["transform"]}

    def label_names(self, names: Names) -> Names:
        """A RoBERTa that labels has its pooler in the classifier."""
        pooler = {f"pooler.{kind}": (f"classifier.dense.{kind}",) for kind in ("weight", "bias")}
        return super().label_names(names) | pooler
