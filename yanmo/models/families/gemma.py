"""Gemma 2 (arXiv:2408.00118) and Gemma 3 (arXiv:2503.19786), text alone: norms before and after each layer with a factor of
1 + weight, GeGLU, scaled embeddings, layers with a window between layers without; 2 has softcaps, 3 QK-norm and a base of
its own for the layers with a window."""

from __future__ import annotations

from typing import Any, ClassVar

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.families import rotary
from yanmo.models.families.llama import DECODER, LlamaFamily
from yanmo.models.families.published import besides
from yanmo.models.reader import Reader
from yanmo.models.tagger import Tagger
from yanmo.models.transformer import Transformer

GEMMA = besides(DECODER, "attention.window", "attention.full_every", "attention.softcap", "attention.scale", "head.softcap",
                norm__offset=True, norm_at="sandwich", embedding__scale=True, mlp__type="geglu")  # fmt: skip


class Gemma2Family(LlamaFamily):
    """Gemma 2."""

    causal, labels = "Gemma2ForCausalLM", "Gemma2ForSequenceClassification"
    lacks: ClassVar[tuple[str, ...]] = (Reader.ending,)
    model_type = "gemma2"
    fixed: ClassVar[dict[str, Any] | None] = GEMMA
    known: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_activation": ("gelu_pytorch_tanh",), "attention_bias": (False,), "use_bidirectional_attention": (None, False),
    }  # fmt: skip
    block: ClassVar[dict[str, tuple[str, ...]]] = {
        **LlamaFamily.block,
        "attention_out_norm.weight": ("post_attention_layernorm.weight",),
        "mlp_norm.weight": ("pre_feedforward_layernorm.weight",),
        "mlp_out_norm.weight": ("post_feedforward_layernorm.weight",),
    }
    every: ClassVar[int] = 2  # of so many layers the last has no window
    caps: ClassVar[tuple[float | None, float | None]] = (50.0, 30.0)  # scores' and logits', where config.json does not say

    def config(self, model: Transformer) -> dict[str, Any]:
        p = model.part
        settings = super().config(model)
        del settings["hidden_act"]
        scalar = p.head_size if p.attention.scale is None else round(p.attention.scale**-2, 6)
        every, depth = p.attention.full_every, len(model.stack.blocks)
        local = [bool(p.attention.window) and not (every and (layer + 1) % every == 0) for layer in range(depth)]
        return settings | {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": int(scalar) if scalar == int(scalar) else scalar,
            "sliding_window": p.attention.window,
            "layer_types": ["sliding_attention" if near else "full_attention" for near in local],
            "attn_logit_softcapping": p.attention.softcap,
            "final_logit_softcapping": p.head.softcap,
        }

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        scores, logits = self.caps
        return super().settings(config, place, head) | {
            "mlp": "geglu", "norm": {"type": "rms", "eps": config.get("rms_norm_eps", 1e-6), "offset": True},
            "norm_at": "sandwich", "embedding": {"scale": True}, "tie": not head or config.get("tie_word_embeddings", True),
            "head": {"softcap": config.get("final_logit_softcapping", logits)},
            "attention": {
                **self._window(config, place), "softcap": config.get("attn_logit_softcapping", scores),
                "scale": config.get("query_pre_attn_scalar", 256) ** -0.5,
            },
        }  # fmt: skip

    def _window(self, config: dict[str, Any], place: str) -> dict[str, Any]:
        depth, every = config["num_hidden_layers"], config.get("sliding_window_pattern") or self.every
        kinds = config.get("layer_types")
        kinds = kinds or ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(depth)]
        full = [index for index, kind in enumerate(kinds) if kind == "full_attention"]
        if len(full) == depth:
            return {}
        window = {"window": config.get("sliding_window") or 4096}
        if not full:
            return window
        found = full[0] + 1
        if found < 2 or full != [i for i in range(depth) if (i + 1) % found == 0]:
            raise DataError(f"{place}: layer_types", text("every n-th layer without a window"), ", ".join(kinds))
        return window | {"full_every": found}


class Gemma3Family(Gemma2Family):
    """Gemma 3, text alone."""

    causal, labels = "Gemma3ForCausalLM", "Gemma3TextForSequenceClassification"
    lacks = (Tagger.ending, Reader.ending)
    model_type = "gemma3_text"
    fixed: ClassVar[dict[str, Any] | None] = besides(GEMMA, "position.local_theta", qk_norm=True)
    every = 6
    caps = (None, None)

    def config(self, model: Transformer) -> dict[str, Any]:
        position = model.part.position
        both = {"full_attention": rotary.described(position, model.part.context)["rope_parameters"],
                "sliding_attention": {"rope_type": "default", "rope_theta": position.local_theta or position.theta}}  # fmt: skip
        settings = super().config(model)
        del settings["rope_theta"]
        return settings | {"rope_parameters": both}

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        given = config.get("rope_parameters") or {}
        full = {**(config.get("rope_scaling") or {}), **(given.get("full_attention") or {})}
        near = (given.get("sliding_attention") or {}).get("rope_theta") or config.get("rope_local_base_freq") or 10_000.0
        flat = {"rope_parameters": full, "rope_theta": config.get("rope_theta")}
        position = rotary.position(flat, place, 1_000_000.0).model_copy(update={"local_theta": rotary.base(near, place)})
        plain = {key: value for key, value in config.items() if not key.startswith("rope")}
        return super().settings(plain, place, head) | {"qk_norm": True, "position": position}
