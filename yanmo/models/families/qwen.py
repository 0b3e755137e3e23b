"""Qwen3 (Yang et al. 2025, arXiv:2505.09388): our Transformer with SwiGLU and QK-norm."""

from __future__ import annotations

from yanmo.models.families.llama import LlamaFamily


class QwenFamily(LlamaFamily):
    """Qwen3: our Transformer with QK-norm."""

    causal, labels = "Qwen3ForCausalLM", "Qwen3ForSequenceClassification"
    model_type, qk_norm = "qwen3", True
