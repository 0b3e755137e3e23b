"""Rows packed with several documents, without a mask of T × T: documents lie side by side, each sees itself alone.

    on a CPU    document by document, as far as that is less work than one pass with a mask (`lengths`)
    on CUDA     FlexAttention (Dong et al. 2024, arXiv:2412.05496): blocks of `SIDE` × `SIDE` in which no token sees another
                are not computed, and only those that a border runs through look at single positions (`blocks`)
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from yanmo.nn.visibility import positions_within

SIDE = 128  # of a block: FlexAttention's own size
# What a document of its own costs beside its pairs of positions, in pairs times numbers of a query (0.1 ms, where a pair takes
# 0.25 ns a number), and the share of a masked pass's work below which to go one by one is faster. Forward and backward, one
# thread, 16 × 256 to 4 × 1024 tokens, documents of 16 to 1024: 1.2 to 7 times as fast; 32 × 128 of width 128: not at all.
PIECE, WORTH = 400_000, 0.8


def lengths(documents: Tensor, width: int) -> list[int]:
    """The lengths of the documents (B, T), row after row, where to attend to one by one is the faster way; else none. `width`:
    numbers of a position's queries."""
    if documents.device.type != "cpu" or torch.compiler.is_compiling():  # sizes that change with every batch
        return []
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    rows, steps = documents.shape
    starts = begins.view(-1).nonzero()[:, 0].tolist()
    found = [end - start for start, end in zip(starts, [*starts[1:], rows * steps])]
    alone = sum(length * length for length in found) + len(found) * PIECE / width
    return found if alone < WORTH * rows * steps * steps else []


def on_blocks(documents: Tensor) -> bool:
    """Whether rows (B, T) are attended to in blocks: on a GPU that Triton compiles for, and where they are more than one."""
    from torch.utils._triton import has_triton

    return documents.device.type == "cuda" and documents.shape[1] > SIDE and has_triton()


def blocks(documents: Tensor, window: int | None = None, sinks: int = 0) -> Any:
    """A BlockMask for causal rows of `documents` (B, T). Which blocks count follows from each block's first and last
    document, so that nothing of T × T is held."""
    from torch.nn.attention.flex_attention import BlockMask

    steps = documents.shape[1]
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    number, inside = begins.cumsum(1), positions_within(documents)  # numbers that only rise

    def sees(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        near = q >= k
        if window is not None:
            near = near & ((q - k < window) | (inside[b, k] < sinks))
        return near & (number[b, q] == number[b, k])

    count = -(-steps // SIDE)
    at = torch.arange(count, device=documents.device)
    first, last = number[:, ::SIDE], number[:, (at * SIDE + SIDE - 1).clamp(max=steps - 1)]  # (B, count)
    some = (at[:, None] >= at) & (last[:, None, :] >= first[:, :, None])
    whole = (at[:, None] > at) & (first[:, None, :] == last[:, :, None]) & (at[:, None] < steps // SIDE)
    if window is not None:
        away = (at[:, None] - at) * SIDE  # the least distance is away - SIDE + 1, the largest away + SIDE - 1
        begun = inside[:, ::SIDE] < sinks if sinks else torch.zeros_like(first, dtype=torch.bool)
        border = first != last
        some = some & ((away - SIDE + 1 < window) | ((begun | border) & bool(sinks))[:, None, :])
        whole = whole & (away + SIDE - 1 < window)
    partial = some & ~whole
    lists = (*_listed(partial), *_listed(whole))
    return BlockMask.from_kv_blocks(*lists, BLOCK_SIZE=SIDE, mask_mod=sees, seq_lengths=(steps, steps))


def by_blocks(q: Tensor, k: Tensor, v: Tensor, mask: Any, scale: float | None) -> Tensor:
    """(B, T, H, D) by FlexAttention, compiled once for each shape; k and v may have fewer heads."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    found = _flex(q.device.type == "cuda" and not torch.compiler.is_compiling())(
        q, k, v, block_mask=mask, scale=scale, enable_gqa=q.shape[1] != k.shape[1])  # fmt: skip
    return found.transpose(1, 2)


@cache
def _flex(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False) if compiled else flex_attention


def _listed(dense: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, n) how many blocks of a row count and (B, 1, n, n) which, these first."""
    return dense.sum(-1, dtype=torch.int32)[:, None], dense.int().argsort(dim=-1, descending=True, stable=True).int()[:, None]
