"""Tensor parallelism (Shoeybi et al. 2019, Megatron-LM, arXiv:1909.08053, section 3): the ranks of a group share each layer.

Queries, keys and values are divided by heads and the wider layer of the MLP by channels, so that a rank computes some heads and
some channels whole; what they add to the stream is summed over the group, once behind attention and once behind the MLP. What
stands between (norms, embedding, head) is the same on every rank.

torch's own plans (`ColwiseParallel`) divide a matrix in one contiguous cut; here queries, keys and values stand in one matrix,
as do gate and up, and each of these pieces has to be cut by itself. Hence two layers of our own, the transposes of each other.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.nn.block import Attention
from yanmo.nn.mlp import GatedMlp, Mlp
from yanmo.train.divided import Divided


class Spread(torch.autograd.Function):
    """The same on every rank; backward, the sum of what all ranks' parts of the layer say."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        summed = slopes[0].contiguous().clone()
        dist.all_reduce(summed, group=ctx.group)
        return summed, None


class Summed(torch.autograd.Function):
    """The sum over the ranks; backward, each gets the whole gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        summed = x.contiguous().clone()
        dist.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        return slopes[0], None


class Columns(nn.Module):
    """Some of a linear layer's outputs: of each of its pieces, this rank's share."""

    def __init__(self, layer: nn.Linear, group: Any):
        super().__init__()
        pieces = tuple(getattr(layer.weight, "pieces", (layer.out_features,)))
        self.group = group
        self.weight = _divided(layer.weight, Divided(group, 0, pieces))
        self.bias = None if layer.bias is None else _divided(layer.bias, Divided(group, 0, pieces))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(Spread.apply(x, self.group), self.weight, self.bias)


class Rows(nn.Module):
    """Some of a linear layer's inputs; the ranks' outputs are summed, and the bias is added once."""

    def __init__(self, layer: nn.Linear, group: Any):
        super().__init__()
        self.group = group
        self.weight = _divided(layer.weight, Divided(group, 1, (layer.in_features,)))
        self.weight.pieces = getattr(layer.weight, "pieces", (layer.out_features,))  # type: ignore[attr-defined]
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        summed = Summed.apply(F.linear(x, self.weight), self.group)
        return summed if self.bias is None else summed + self.bias


def _divided(parameter: Tensor, how: Divided) -> nn.Parameter:
    own = nn.Parameter(how.part(parameter.detach()).clone(), requires_grad=parameter.requires_grad)
    own.divided = how  # type: ignore[attr-defined]
    if how.dim == 0:
        own.pieces = how.pieces  # type: ignore[attr-defined]
    return own


def divide(model: nn.Module, group: Any) -> None:
    """Leaves this rank of `group` its part of the model, in place. RequestError for a model that cannot be divided so."""
    size, where = dist.get_world_size(group), "train.parallel.tensor"
    part: Any = getattr(getattr(model, "backbone", model), "part", None)
    kind = getattr(getattr(model, "backbone", model), "kind", None)
    if not hasattr(part, "kv_heads") or kind not in ("causal", "masked"):
        raise RequestError(where, text("a Transformer that is a decoder or an encoder"), str(kind or type(model).__name__))
    if part.mlp.type == "experts":
        raise RequestError(where, text("a feed-forward layer without experts"), "experts")
    if part.position.type in ("relative", "alibi"):
        raise RequestError(where, text("'position' rotary, learned or none"), part.position.type)
    for name, count in (("heads", part.heads), ("kv_heads", part.kv_heads), ("mlp_width", part.mlp_width)):
        if count % size:
            raise RequestError(where, text("a number that divides the model's {count} {name}", count=count, name=name), str(size))
    for module in model.modules():
        if isinstance(module, Attention):
            module.qkv, module.out = Columns(module.qkv, group), Rows(module.out, group)  # type: ignore[assignment]
            module.heads, module.kv_heads = module.heads // size, module.kv_heads // size
            for norm in (module.q_norm, module.k_norm):
                for parameter in () if norm is None else norm.parameters():  # the same for all heads: of each rank's, a part
                    parameter.register_hook(lambda slope: _sum(slope, group))
        elif isinstance(module, GatedMlp):
            module.gate_up, module.down = Columns(module.gate_up, group), Rows(module.down, group)  # type: ignore[assignment]
        elif isinstance(module, Mlp):
            module.up, module.down = Columns(module.up, group), Rows(module.down, group)  # type: ignore[assignment]


def _sum(slope: Tensor, group: Any) -> Tensor:
    summed = slope.contiguous().clone()
    dist.all_reduce(summed, group=group)
    return summed
