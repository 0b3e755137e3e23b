"""Blocks and stacks of them: what a decoder, an encoder and an encoder-decoder are made of.

What one pass gives every block is a `Pass`; a block adds only which layer it is, and only where slots need to know, so
that one compilation serves all blocks that are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.nn import packed
from yanmo.nn.attention import attend
from yanmo.nn.dropout import dropout
from yanmo.nn.init import linear
from yanmo.nn.position import Tables
from yanmo.nn.rolling import Rolling, RollingSlots, rolling_bias
from yanmo.nn.rope import rotate
from yanmo.nn.visibility import positions_within

if TYPE_CHECKING:
    from yanmo.models.base import Inputs, Slots


class Pass(NamedTuple):
    """One forward pass, as all blocks see it."""

    tables: Tables | None = None  # cosines and sines
    near: Tables | None = None  # those of the layers with a window
    bias: Tensor | None = None  # (1 or B, H, T, S)
    documents: Tensor | None = None  # (B, T)
    mask: Tensor | None = None  # (B, T)
    prefix: Tensor | None = None  # (B,)
    order: Tensor | None = None  # (B, T)
    streams: int = 1  # 2: x is two streams of B rows each, and without an order both read from left to right
    memory: Tensor | None = None  # (B, S, D) what the encoder has read; None: it stands in the slots
    memory_mask: Tensor | None = None  # (B, S)
    rolling: Rolling | None = None  # how queries and keys are turned where the slots forget
    blocks: Any = None  # of packed rows on a GPU: of the layers that see all, and of those with a window
    near_blocks: Any = None


class Attention(nn.Module):
    """Queries, keys and values in one matrix product, (B, T, D) → (B, T, D)."""

    def __init__(self, part: Any, causal: bool, local: bool):
        super().__init__()
        self.heads, self.kv_heads, self.size, self.causal = part.heads, part.kv_heads, part.head_size, causal
        q, kv = part.heads * part.head_size, part.kv_heads * part.head_size
        self.qkv = linear(part.width, q, kv, kv, bias=part.bias != "none")
        self.out = linear(q, part.width, bias=part.bias == "all")
        self.q_norm = part.norm.build(part.head_size) if part.qk_norm else None
        self.k_norm = part.norm.build(part.head_size) if part.qk_norm else None
        settings = part.attention
        self.window: int | None = settings.window if local else None
        self.sinks: int = settings.sinks if local else 0
        self.softcap, self.scale = settings.softcap, settings.scale

    def forward(self, x: Tensor, seen: Pass, layer: int | None, slots: Slots | None) -> Tensor:
        B, T, _ = x.shape
        both, v = self.qkv(x).view(B, T, -1, self.size).split((self.heads + self.kv_heads, self.kv_heads), dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = both.split((self.heads, self.kv_heads), dim=2)
            both = torch.cat([self.q_norm(q), self.k_norm(k)], dim=2)
        tables = seen.tables if self.window is None else seen.near
        if tables is not None and seen.rolling is None:
            both = rotate(both, *tables)
        q, k = both.split((self.heads, self.kv_heads), dim=2)
        if seen.streams == 2:  # keys and values are of the content stream alone
            k, v = k[: B // 2], v[: B // 2]
        if seen.streams == 2 and seen.order is None:
            bias = (None, None) if seen.bias is None else seen.bias.chunk(2)
            halves = (self._attend(half, k, v, seen, layer, slots, own, True) for half, own in zip(q.chunk(2), bias))
            return self.out(torch.cat(list(halves)).reshape(B, T, -1))
        return self.out(self._attend(q, k, v, seen, layer, slots, seen.bias, self.causal).reshape(B, T, -1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Pass, layer: int | None, slots: Slots | None, bias: Tensor | None,
                causal: bool) -> Tensor:  # fmt: skip
        return attend(q, k, v, layer=layer, slots=slots, causal=causal, mask=seen.mask, documents=seen.documents,
                      prefix=seen.prefix, order=seen.order, bias=bias, window=self.window, sinks=self.sinks,
                      rolling=seen.rolling, blocks=seen.blocks if self.window is None else seen.near_blocks,
                      softcap=self.softcap, scale=self.scale)  # fmt: skip


class CrossAttention(nn.Module):
    """Looks into what the encoder has read: queries of the decoder, keys and values of the memory."""

    def __init__(self, part: Any):
        super().__init__()
        self.heads, self.kv_heads, self.size, self.scale = part.heads, part.kv_heads, part.head_size, part.attention.scale
        q, kv = part.heads * part.head_size, part.kv_heads * part.head_size
        self.q = linear(part.width, q, bias=part.bias != "none")
        self.kv = linear(part.width, kv, kv, bias=part.bias != "none")
        self.out = linear(q, part.width, bias=part.bias == "all")

    def forward(self, x: Tensor, seen: Pass, layer: int | None, slots: Slots | None) -> Tensor:
        B, T, _ = x.shape
        q = self.q(x).view(B, T, self.heads, self.size)
        if seen.memory is not None:
            k, v = self.kv(seen.memory).view(B, seen.memory.shape[1], 2 * self.kv_heads, self.size).chunk(2, dim=2)
            if slots is not None:  # for the passes that follow
                room = slots.read(f"memory.keys.{layer}").shape[1] - k.shape[1]
                slots.write(f"memory.keys.{layer}", F.pad(k, (0, 0, 0, 0, 0, room)))
                slots.write(f"memory.values.{layer}", F.pad(v, (0, 0, 0, 0, 0, room)))
        else:
            assert slots is not None
            assert seen.memory_mask is not None
            size = seen.memory_mask.shape[1]
            k, v = (slots.read(f"memory.{name}.{layer}")[:, :size].to(q.dtype) for name in ("keys", "values"))
        out = attend(q, k, v, layer=None, slots=None, causal=False, mask=seen.memory_mask, documents=None, scale=self.scale)
        return self.out(out.reshape(B, T, -1))


class Block(nn.Module):
    """Attention, in a decoder with an encoder cross-attention, and a feed-forward layer, each added to what comes in.

    `norm_at`: "pre" x + f(norm x); "post" norm(x + f x); "sandwich" x + norm(f(norm x)); "parallel" attention and
    feed-forward both read what comes in."""

    def __init__(self, part: Any, causal: bool, local: bool, crosses: bool):
        super().__init__()
        width, sandwich = part.width, part.norm_at == "sandwich"
        self.norm_at, self.dropout = part.norm_at, part.dropout
        self.attention_norm = part.norm.build(width)
        self.attention = Attention(part, causal, local)
        self.attention_out_norm = part.norm.build(width) if sandwich else None
        self.cross_norm = part.norm.build(width) if crosses else None
        self.cross = CrossAttention(part) if crosses else None
        self.mlp_norm = part.norm.build(width)
        self.mlp = part.mlp.build(width, part.mlp_width, part.bias == "all")
        self.mlp_out_norm = part.norm.build(width) if sandwich else None

    def forward(self, x: Tensor, seen: Pass, layer: int | None = None, slots: Slots | None = None) -> Tensor:
        if self.norm_at == "parallel":
            attended = self.attention(self.attention_norm(x), seen, layer, slots)
            return x + self._drop(attended) + self._drop(self.mlp(self.mlp_norm(x)))
        if self.norm_at == "post":
            x = self.attention_norm(x + self._drop(self.attention(x, seen, layer, slots)))
            if self.cross is not None and self.cross_norm is not None:
                x = self.cross_norm(x + self._drop(self.cross(x, seen, layer, slots)))
            return self.mlp_norm(x + self._drop(self.mlp(x)))
        x = x + self._drop(self._after(self.attention_out_norm, self.attention(self.attention_norm(x), seen, layer, slots)))
        if self.cross is not None and self.cross_norm is not None:
            x = x + self._drop(self.cross(self.cross_norm(x), seen, layer, slots))
        return x + self._drop(self._after(self.mlp_out_norm, self.mlp(self.mlp_norm(x))))

    @staticmethod
    def _after(norm: nn.Module | None, x: Tensor) -> Tensor:
        return x if norm is None else norm(x)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class Stack(nn.Module):
    """Blocks, what tells them positions, and the last norm (none where every block ends with its own)."""

    def __init__(self, part: Any, depth: int, causal: bool, crosses: bool = False):
        super().__init__()
        self.context, self.causal = part.context, causal
        self.attention = part.attention
        every = part.attention.full_every
        local = [part.attention.window is not None and not (every and (layer + 1) % every == 0) for layer in range(depth)]
        self.position = part.position.build(part, causal)
        self.windowed = any(local)
        self.blocks = nn.ModuleList(Block(part, causal, near, crosses) for near in local)
        self.norm = None if part.norm_at == "post" else part.norm.build(part.width)

    def positions(self, inputs: Inputs, steps: int, slots: Slots | None, device: torch.device) -> Tensor:
        """(1 or B, T) int64: as given, behind what the slots remember, from 0, or from each document's beginning."""
        if inputs.positions is not None:
            return inputs.positions
        if slots is not None and slots.longest:
            return slots.lengths[:, None] + torch.arange(steps, device=device)
        if self.position.absolute and inputs.documents is not None:
            return positions_within(inputs.documents)
        return torch.arange(steps, device=device)[None]

    def forward(self, x: Tensor, positions: Tensor, inputs: Inputs, slots: Slots | None = None,
                memory: Tensor | None = None, memory_mask: Tensor | None = None, streams: int = 1) -> Tensor:  # fmt: skip
        """x (B, T, D) with its positions → (B, T, D); of two `streams`, (2B, T, D)."""
        if isinstance(slots, RollingSlots):
            seen = Pass(bias=rolling_bias(slots, self.position, positions), mask=inputs.mask,
                        rolling=Rolling.over(slots, self.position, positions))  # fmt: skip
            return self._through(x, seen, slots)
        remembered = slots.longest if slots is not None else 0
        size = remembered + x.shape[1]
        longest = size if inputs.positions is None else int(inputs.positions.max()) + 1
        longest = (min(longest, self.context) if self.context else longest) + streams - 1
        tables = self.position.tables(positions, longest)
        bias = self.position.bias(positions, size)
        blocks, near_blocks = (None, None) if bias is not None or streams == 2 else self._blocks(inputs)
        seen = Pass(
            tables, self.position.tables(positions, longest, local=True) if self.windowed else None, bias, inputs.documents,
            inputs.mask, inputs.prefix, inputs.order, streams, memory, memory_mask, None, blocks, near_blocks,
        )  # fmt: skip
        return self._through(x, seen, slots)

    def _blocks(self, inputs: Inputs) -> tuple[Any, Any]:
        """Of packed rows that FlexAttention takes, the blocks of the layers that see all and of those with a window."""
        documents, plain = inputs.documents, inputs.prefix is None and inputs.order is None
        if documents is None or not (self.causal and plain and self.attention.softcap is None and packed.on_blocks(documents)):
            return None, None
        near = packed.blocks(documents, self.attention.window, self.attention.sinks) if self.windowed else None
        return packed.blocks(documents), near

    def _through(self, x: Tensor, seen: Pass, slots: Slots | None) -> Tensor:
        for layer, block in enumerate(self.blocks):
            x = block(x, seen) if slots is None else block(x, seen, layer, slots)
        return x if self.norm is None else self.norm(x)
