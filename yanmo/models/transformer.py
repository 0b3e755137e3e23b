"""The one Transformer: a decoder of pre-norm blocks (RMSNorm, rotary positions, grouped-query attention with QK-norm,
SwiGLU or squared ReLU), tied or untied head.

A single dial, `depth`, sets its size; what is not given follows from it:

    width      64 · depth     the loss hardly depends on the aspect ratio (Kaplan et al. 2020, arXiv:2001.08361,
                              figure 5), matrix products are the faster the wider they are, and 64 gives whole heads
    heads      width / 64     as in most published models of any size
    kv_heads   heads          grouping saves memory when serving long contexts, and costs a little quality
    mlp_width  8/3 · width for SwiGLU, rounded up to 64: as many parameters as the 4 · width of ReLU², without a gate

With QK-norm it is Qwen3 and without it, Llama, tensor for tensor: so saved, it opens in other programs.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, ModelPart, Slots, StateSpec
from yanmo.nn.attention import attend
from yanmo.nn.init import embedding, fill, linear
from yanmo.nn.mlp import SquaredReLU, SwiGLU
from yanmo.nn.norm import RMSNorm
from yanmo.nn.rope import Rotary, rotate

DEPTH, CONTEXT = 6, 512  # where neither the recipe nor the stage says


class TransformerModel(ModelPart):
    """The Transformer decoder; `depth` is the dial for its size, and the rest follows unless given."""

    type: str = "transformer"
    depth: int | None = Field(None, ge=1)
    width: int | None = Field(None, ge=1)
    heads: int | None = Field(None, ge=1)
    kv_heads: int | None = Field(None, ge=1)
    head_size: int | None = Field(None, ge=2)
    mlp: Literal["swiglu", "relu2"] = "swiglu"
    mlp_width: int | None = Field(None, ge=1)
    qk_norm: bool = True
    tie: bool = True
    rope_theta: float = Field(10_000.0, gt=0)
    context: int | None = Field(None, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    norm_eps: float = Field(1e-6, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> TransformerModel:
        full = self._filled()
        if full["width"] % full["heads"] and self.head_size is None:
            width, heads = full["width"], full["heads"]
            raise ValueError(str(text("'heads' that divide the width {width}, not {heads}", width=width, heads=heads)))
        if full["heads"] % full["kv_heads"]:
            heads, groups = full["heads"], full["kv_heads"]
            raise ValueError(str(text("'kv_heads' that divide the {heads} heads, not {kv}", heads=heads, kv=groups)))
        if full["head_size"] % 2:
            raise ValueError(str(text("an even head size for rotary positions, not {size}", size=full["head_size"])))
        return self

    def _filled(self) -> dict[str, Any]:
        depth = self.depth or DEPTH
        width = self.width or 64 * depth
        heads = self.heads or max(1, width // (self.head_size or 64))
        inner = 64 * math.ceil(width * 8 / 3 / 64) if self.mlp == "swiglu" else 4 * width
        return {
            "depth": depth, "width": width, "heads": heads, "kv_heads": self.kv_heads or heads,
            "head_size": self.head_size or width // heads, "mlp_width": self.mlp_width or inner,
        }  # fmt: skip

    def complete(self, depth: int | None = None, context: int | None = None) -> TransformerModel:
        """The same settings with every size filled in; `depth` and `context` are used where the settings give none."""
        part = self if self.depth or depth is None else self.model_copy(update={"depth": depth})
        return part.model_copy(update={**part._filled(), "context": self.context or context or CONTEXT})

    def parameters(self, vocabulary: int) -> int:
        """How many numbers the model has; a tied head counts once."""
        part = self.complete()
        blocks = part._matrices() + part.depth * (2 * part.width + (2 * part.head_size if part.qk_norm else 0))  # type: ignore[operator]
        return blocks + part.width + vocabulary * part.width * (1 if part.tie else 2)  # type: ignore[operator]

    def _matrices(self) -> int:
        p: Any = self.complete()
        attention = p.width * p.head_size * (2 * p.heads + 2 * p.kv_heads)
        return p.depth * (attention + p.width * p.mlp_width * (3 if p.mlp == "swiglu" else 2))

    def flops(self, vocabulary: int, context: int) -> float:
        """Floating-point operations to train on one token: 6 per weight of a matrix product (2 forward, 4 backward) and
        12 · depth · heads · head size · context of attention (Chowdhery et al. 2022, arXiv:2204.02311, appendix B)."""
        p: Any = self.complete()
        return 6.0 * (self._matrices() + vocabulary * p.width) + 12.0 * p.depth * p.heads * p.head_size * context

    def build(self, tokenizer: Any, rng: torch.Generator, context: int | None = None) -> Transformer:
        if self.context is not None and context is not None and context > self.context:
            raise RequestError(text("context"), text("at most the model's {context} tokens", context=self.context),
                               str(context), text("raise the model's 'context' or lower the other"))  # fmt: skip
        model = Transformer(self.complete(context=context), tokenizer.size)
        model.initialise(rng)
        return model


class Attention(nn.Module):
    """Queries, keys and values in one matrix product, (B, T, D) → (B, T, D)."""

    def __init__(self, part: Any):
        super().__init__()
        self.heads, self.kv_heads, self.size = part.heads, part.kv_heads, part.head_size
        q, kv = part.heads * part.head_size, part.kv_heads * part.head_size
        self.qkv = linear(part.width, q, kv, kv)
        self.out = linear(q, part.width)
        self.q_norm = RMSNorm(part.head_size, part.norm_eps) if part.qk_norm else None
        self.k_norm = RMSNorm(part.head_size, part.norm_eps) if part.qk_norm else None

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, documents: Tensor | None, layer: int | None,
                slots: Slots | None) -> Tensor:  # fmt: skip
        B, T, _ = x.shape
        q, k, v = self.qkv(x).view(B, T, -1, self.size).split((self.heads, self.kv_heads, self.kv_heads), dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        out = attend(q, k, v, layer=layer, slots=slots, causal=True, mask=None, documents=documents)
        return self.out(out.reshape(B, T, -1))


class Block(nn.Module):
    """x + attention(norm x), then x + mlp(norm x). `layer` and `slots` come with every call that has them, so that one
    compilation serves all blocks."""

    def __init__(self, part: Any):
        super().__init__()
        self.attention_norm = RMSNorm(part.width, part.norm_eps)
        self.attention = Attention(part)
        self.mlp_norm = RMSNorm(part.width, part.norm_eps)
        self.mlp = (SwiGLU if part.mlp == "swiglu" else SquaredReLU)(part.width, part.mlp_width)
        self.dropout = part.dropout

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, documents: Tensor | None = None, layer: int | None = None,
                slots: Slots | None = None) -> Tensor:  # fmt: skip
        x = x + self._drop(self.attention(self.attention_norm(x), cos, sin, documents, layer, slots))
        return x + self._drop(self.mlp(self.mlp_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Transformer(LanguageModel):
    """The module. `part` is complete; parameters are empty until `initialise` or loading fills them."""

    def __init__(self, part: TransformerModel, vocabulary: int):
        super().__init__()
        part = part.complete()
        sizes: Any = part
        self.part = part
        self.vocabulary, self.context, self.width = vocabulary, part.context, part.width
        self.embedding = embedding(vocabulary, sizes.width)
        self.rotary = Rotary(sizes.head_size, part.rope_theta, sizes.context)
        self.blocks = nn.ModuleList(Block(part) for _ in range(sizes.depth))
        self.norm = RMSNorm(sizes.width, part.norm_eps)
        self.head = None if part.tie else linear(sizes.width, vocabulary)

    @property
    def family(self) -> str:  # type: ignore[override]
        if self.part.mlp != "swiglu":
            return "yanmo_transformer"
        return "qwen3" if self.part.qk_norm else "llama"

    def initialise(self, rng: torch.Generator) -> None:
        """Fills every parameter, in the order of their names: see the body for the rule."""
        width = self.width
        assert width is not None
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)  # the norms
            elif name.endswith(("attention.out.weight", "mlp.down.weight")):
                fill(parameter, 0.02 / math.sqrt(2 * len(self.blocks)), rng)
            else:
                fill(parameter, 0.02, rng)

    def state(self) -> dict[str, StateSpec]:
        p: Any = self.part
        spec = StateSpec((p.kv_heads, p.head_size), self.embedding.weight.dtype, per_token=True)
        return {f"{name}.{layer}": spec for layer in range(p.depth) for name in ("keys", "values")}

    def regions(self) -> list[nn.Module]:
        return list(self.blocks)

    def encode(self, inputs: Inputs, slots: Slots | None = None) -> Tensor:
        x = self.embedding(inputs.tokens) if inputs.embeddings is None else inputs.embeddings
        cos, sin = self._positions(inputs, x.shape[1], slots)
        if self.part.dropout:
            x = F.dropout(x, self.part.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            where = () if slots is None else (layer, slots)
            x = block(x, cos, sin, inputs.documents, *where)
        return self.norm(x)

    def _positions(self, inputs: Inputs, steps: int, slots: Slots | None) -> tuple[Tensor, Tensor]:
        """The rotary tables of this pass. Raises RequestError for a row longer than the context."""
        mask, limit = inputs.mask, self.context
        assert limit is not None
        if mask is not None and steps > 1 and not torch.compiler.is_compiling():
            assert bool((mask[:, :-1] >= mask[:, 1:]).all()), "padding stands on the right of a row"
        remembered = slots.longest if slots is not None else 0
        if remembered + steps > limit:
            needed = remembered + steps
            if mask is not None and slots is not None:  # of a short row's padding, nothing is asked
                needed = int((slots.lengths + mask.sum(1)).max())
            if needed > limit:
                raise RequestError(text("context"), text("at most the model's {context} tokens", context=limit),
                                   text("{count} tokens", count=needed))  # fmt: skip
        if inputs.positions is not None:
            return self.rotary(inputs.positions)
        if slots is None or remembered == 0:
            return self.rotary(steps) if steps <= limit else self.rotary(torch.arange(steps).clamp(max=limit - 1)[None])
        positions = slots.lengths[:, None] + torch.arange(steps, device=slots.lengths.device)
        return self.rotary(positions.clamp(max=limit - 1))
