"""Qwen3 (Yang et al. 2025, arXiv:2505.09388): our Transformer with SwiGLU and QK-norm. Qwen2 (arXiv:2407.10671): without
QK-norm, with a bias on queries, keys and values."""

from __future__ import annotations

from typing import Any, ClassVar

from yanmo.models.families.llama import DECODER, LlamaFamily
from yanmo.models.families.published import besides


class Qwen3Family(LlamaFamily):
    """Qwen3: our Transformer with QK-norm."""

    causal, labels = "Qwen3ForCausalLM", "Qwen3ForSequenceClassification"
    model_type = "qwen3"
    fixed: ClassVar[dict[str, Any] | None] = besides(DECODER, qk_norm=True)

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        return super().settings(config, place, head) | {"qk_norm": True}


class Qwen2Family(LlamaFamily):
    """Qwen2 and Qwen2.5: a bias on queries, keys and values."""

    causal, labels = "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"
    model_type = "qwen2"
    fixed: ClassVar[dict[str, Any] | None] = besides(DECODER, bias="qkv")

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        return super().settings(config, place, head) | {"bias": "qkv"}
