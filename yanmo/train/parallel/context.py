"""Context parallelism: the positions of a row are divided among the ranks of a group, each of which holds T / c of them.

Everything in a Transformer but attention looks at one position alone. For attention each rank gathers all keys and values of
the layer and attends from its own queries: exact, in one softmax, with any rule of who sees whom. The alternative, a ring in
which keys and values travel from rank to rank while partial softmaxes are merged (Liu et al. 2023, arXiv:2310.01889), hides the
transfer behind the computation, but needs every mask in pieces and as many merges as ranks; with grouped queries, keys and
values are a small part of what a layer holds, and Llama 3 too gathers them (Grattafiori et al. 2024, arXiv:2407.21783, 3.3.2).

A causal row has more to see at its end. So each rank gets two stretches of it, number r from the front and number r from the
back, which together are the same work for all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs
from yanmo.nn.attention import _attend
from yanmo.nn.block import Attention
from yanmo.nn.visibility import positions_within
from yanmo.objectives.base import Batch, Loss, Objective
from yanmo.train.parallel.share import Rows, Share

WHERE = "train.parallel.context"


class Context:
    """The ranks that share rows. A model that has been entered attends across them while it is within a batch that was cut."""

    def __init__(self, group: Any):
        self.group, self.rank, self.size = group, dist.get_rank(group), dist.get_world_size(group)
        self.rows: Rows | None = None
        self._entered: list[nn.Module] = []

    # -------------------------------------------------------------------------------------------- rows

    def own(self, length: int, rank: int | None = None) -> Tensor:
        """(length / size,) the positions of a rank, of rows of `length`, a multiple of twice the size."""
        stretches = torch.arange(length).chunk(2 * self.size)
        rank = self.rank if rank is None else rank
        return torch.cat([stretches[rank], stretches[-1 - rank]])

    def cut(self, batch: Share) -> Share:
        """This rank's positions of the batch, padded on the right so that all have as many; the whole's borders beside them."""
        tokens = batch.inputs.tokens
        steps = tokens.shape[1]
        room = -steps % (2 * self.size)
        own = self.own(steps + room)
        documents, mask = batch.inputs.documents, batch.inputs.mask
        if room and mask is None:
            mask = torch.ones_like(tokens, dtype=torch.bool)
        if documents is not None:
            documents = torch.cat([documents, (documents[:, -1:] + 1).expand(-1, room)], 1)
        mask = None if mask is None else F.pad(mask, (0, room))
        positions = torch.arange(steps + room).expand(len(tokens), -1)
        if documents is not None and self.absolute:
            positions = positions_within(documents)

        def mine(value: Tensor | None) -> Tensor | None:
            return None if value is None else F.pad(value, (0, room))[:, own]

        inputs = Inputs(F.pad(tokens, (0, room))[:, own], positions=positions[:, own], types=mine(batch.inputs.types),
                        mask=None if mask is None else mask[:, own])  # fmt: skip
        return replace(batch, inputs=inputs, targets=mine(batch.targets), weights=mine(batch.weights),
                       rows=Rows(steps + room, documents, mask))  # fmt: skip

    # -------------------------------------------------------------------------------------------- a model

    def enter(self, model: nn.Module) -> None:
        """Lets the model's attention look across the ranks."""
        part: Any = getattr(model, "part", None)
        stack: Any = getattr(model, "stack", None)
        kind = getattr(model, "kind", None)
        if stack is None or kind not in ("causal", "masked"):
            raise RequestError(WHERE, text("a Transformer that is a decoder or an encoder"), str(kind or type(model).__name__))
        if part.position.type not in ("rotary", "learned", "none"):
            raise RequestError(WHERE, text("'position' rotary, learned or none"), part.position.type)
        if getattr(getattr(part.position, "scaling", None), "type", None) == "dynamic":
            raise RequestError(WHERE, text("rotary positions whose scaling does not follow each row's length"), "dynamic")
        if part.mlp.type == "experts":
            raise RequestError(WHERE, text("a feed-forward layer without experts, whose balance is a row's"), "experts")
        self.absolute = bool(stack.position.absolute)
        for module in model.modules():
            if isinstance(module, Attention):
                module._attend = _across(module, self)  # type: ignore[method-assign]
                self._entered.append(module)

    def check(self, model: nn.Module, objective: Objective) -> None:
        """RequestError for an objective that looks at a row as a whole."""
        if objective.type not in ("causal", "masked", "") or getattr(objective, "pairs", False):
            raise RequestError(WHERE, text("an objective that looks at single tokens (causal, masked)"), objective.type)

    def within(self, module: nn.Module) -> Callable[[Batch], Loss]:
        """The module's loss, its attention looking at the rows that the batch is cut from, until the next batch: the backward
        pass may compute layers again."""

        def forward(batch: Batch) -> Loss:
            self.rows = getattr(batch, "rows", None)
            return module(batch)

        return forward

    def leave(self) -> None:
        for module in self._entered:
            with suppress(AttributeError):
                del module._attend
        self._entered = []


# ------------------------------------------------------------------------------------------------ attention


class Gather(torch.autograd.Function):
    """(B, T / c, …) → (B, T, …) in the order of the row; backward, the gradients of all ranks added up and divided again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, context: Context) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(context.size)]
        dist.all_gather(parts, x.contiguous(), group=context.group)
        ctx.context = context
        half = x.shape[1] // 2
        return torch.cat([*(part[:, :half] for part in parts), *(part[:, half:] for part in reversed(parts))], 1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        context: Context = ctx.context
        stretches = slopes[0].chunk(2 * context.size, 1)
        sent = torch.stack([torch.cat([stretches[rank], stretches[-1 - rank]], 1) for rank in range(context.size)])
        kept = torch.empty_like(sent[0])
        dist.reduce_scatter_tensor(kept, sent.flatten(0, 1), group=context.group)
        return kept, None


def _across(module: Attention, context: Context) -> Callable[..., Tensor]:
    plain = Attention._attend.__get__(module)

    @torch.compiler.disable
    def attend(q: Tensor, k: Tensor, v: Tensor, seen: Any, layer: int | None, slots: Any, bias: Tensor | None,
               causal: bool) -> Tensor:  # fmt: skip
        rows = context.rows
        if rows is None or not module.training:  # a validation: whole rows
            return plain(q, k, v, seen, layer, slots, bias, causal)
        assert slots is None
        assert bias is None
        k, v = Gather.apply(torch.cat([k, v], 2), context).chunk(2, 2)
        size = q.shape[1] // 2
        made = []
        for number, half in enumerate(q.split(size, 1)):
            begin = (context.rank if number == 0 else 2 * context.size - 1 - context.rank) * size
            end = begin + size if causal else rows.length
            visible = sees(begin, size, end, causal, rows, module.window, module.sinks, q.device)
            made.append(_attend(half, k[:, :end], v[:, :end], visible, False, None, module.softcap, module.scale))
        return torch.cat(made, 1)

    return attend


def sees(begin: int, count: int, end: int, causal: bool, rows: Rows, window: int | None, sinks: int, device: Any) -> Tensor:
    """(B or 1, 1, count, end) bool: what positions from `begin` on see of the first `end` of whole rows; the rules are those of
    `yanmo.nn.visibility.within`."""
    here, there = torch.arange(begin, begin + count, device=device), torch.arange(end, device=device)
    distance = here[:, None] - there
    visible = (distance >= 0)[None] if causal else torch.ones_like(distance, dtype=torch.bool)[None]
    documents, mask = rows.documents, rows.mask
    if window is not None:
        near = distance.abs()[None] < window
        if sinks:
            index = there[None] if documents is None else positions_within(documents)[:, :end]
            near = near | (index < sinks)[:, None, :]
        visible = visible & near
    if documents is not None:
        visible = visible & (documents[:, begin : begin + count, None] == documents[:, None, :end])
    if mask is not None and not causal:
        visible = visible & mask[:, None, :end] | (distance == 0)[None]
    return visible[:, None]
