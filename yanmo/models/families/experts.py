"""Mixtures of experts: Mixtral (Jiang et al. 2024, arXiv:2401.04088) and Qwen3-MoE (Yang et al. 2025, arXiv:2505.09388)."""

from __future__ import annotations

from typing import Any, ClassVar

from yanmo.models.families.llama import DECODER, LlamaFamily
from yanmo.models.families.published import besides
from yanmo.models.transformer import Transformer


class ExpertsFamily(LlamaFamily):
    router: ClassVar[str]
    expert: ClassVar[tuple[str, str, str]]  # gate, up and down of expert {}

    def blocks(self, model: Transformer) -> dict[str, tuple[str, ...]]:
        gate, up, down = self.expert
        table = {**self.block, "mlp.router.weight": (self.router,)}
        for number in range(model.part.mlp.experts):
            table[f"mlp.experts.{number}.gate_up.weight"] = (gate.format(number), up.format(number))
            table[f"mlp.experts.{number}.down.weight"] = (down.format(number),)
        return table


class MixtralFamily(ExpertsFamily):
    """Mixtral."""

    causal, labels = "MixtralForCausalLM", "MixtralForSequenceClassification"
    reader = "model."
    model_type = "mixtral"
    theta = 1_000_000.0
    fixed: ClassVar[dict[str, Any] | None] = besides(DECODER, "attention.window", mlp__type="experts", mlp__normalise=True)
    known: ClassVar[dict[str, tuple[Any, ...]]] = {"hidden_act": ("silu", "swish"), "router_jitter_noise": (0.0, None)}
    router = "block_sparse_moe.gate.weight"
    expert = tuple(f"block_sparse_moe.experts.{{}}.{name}.weight" for name in ("w1", "w3", "w2"))  # type: ignore[assignment]

    def config(self, model: Transformer) -> dict[str, Any]:
        mlp: Any = model.part.mlp
        return super().config(model) | {
            "sliding_window": model.part.attention.window, "num_local_experts": mlp.experts,
            "num_experts_per_tok": mlp.active, "router_aux_loss_coef": mlp.balance,
        }  # fmt: skip

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        mlp = {"type": "experts", "experts": config.get("num_local_experts", 8), "active": config.get("num_experts_per_tok", 2),
               "balance": config.get("router_aux_loss_coef", 0.001)}  # fmt: skip
        eps = {"type": "rms", "eps": config.get("rms_norm_eps", 1e-5)}
        window = {"window": config.get("sliding_window")}
        return super().settings(config, place, head) | {"mlp": mlp, "norm": eps, "attention": window}


class Qwen3MoeFamily(ExpertsFamily):
    """Qwen3-MoE, where every layer has experts."""

    causal, labels = "Qwen3MoeForCausalLM", "Qwen3MoeForSequenceClassification"
    model_type = "qwen3_moe"
    fixed: ClassVar[dict[str, Any] | None] = besides(DECODER, qk_norm=True, mlp__type="experts")
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "moe_intermediate_size", "max_position_embeddings")
    known: ClassVar[dict[str, tuple[Any, ...]]] = {
        **LlamaFamily.known, "decoder_sparse_step": (1,), "mlp_only_layers": ([], None),
    }  # fmt: skip
    router = "mlp.gate.weight"
    expert = tuple(f"mlp.experts.{{}}.{name}_proj.weight" for name in ("gate", "up", "down"))  # type: ignore[assignment]

    def config(self, model: Transformer) -> dict[str, Any]:
        mlp: Any = model.part.mlp
        return super().config(model) | {
            "moe_intermediate_size": model.part.mlp_width, "num_experts": mlp.experts, "num_experts_per_tok": mlp.active,
            "norm_topk_prob": mlp.normalise, "decoder_sparse_step": 1, "mlp_only_layers": [], "router_aux_loss_coef": mlp.balance,
        }  # fmt: skip

    def settings(self, config: dict[str, Any], place: str, head: bool) -> dict[str, Any]:
        mlp = {"type": "experts", "experts": config.get("num_experts") or config.get("num_local_experts") or 128,
               "active": config.get("num_experts_per_tok", 8), "normalise": config.get("norm_topk_prob", False),
               "balance": config.get("router_aux_loss_coef", 0.001)}  # fmt: skip
        return super().settings({**config, "intermediate_size": config["moe_intermediate_size"]}, place, head) | {
            "mlp": mlp, "qk_norm": True,
        }  # fmt: skip
