"""The one attention call. Every layer that attends calls `attend`; what it remembers goes through the Slots protocol.

Shapes: B rows, T new positions, S positions attended to, H query heads, K key/value heads (K divides H: grouped-query
attention, Ainslie et al. 2023, arXiv:2305.13245), D head size. The arithmetic is torch's scaled_dot_product_attention,
but with a softcap, which that does not know, and for short rows in training on a CPU, where it is slow. Who sees whom is
written in visibility.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yanmo.nn import packed, visibility

if TYPE_CHECKING:
    from yanmo.models.base import Slots
    from yanmo.nn.rolling import Rolling

SHORT, SHORT_HALF = 32, 128  # positions, of 32 and of 16 bits


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    layer: int | None,
    slots: Slots | None,
    causal: bool,
    mask: Tensor | None,
    documents: Tensor | None,
    prefix: Tensor | None = None,
    order: Tensor | None = None,
    bias: Tensor | None = None,
    window: int | None = None,
    sinks: int = 0,
    rolling: Rolling | None = None,
    blocks: Any = None,
    softcap: float | None = None,
    scale: float | None = None,
) -> Tensor:
    """softmax(q kᵀ · scale + bias) v over what each position may see: q (B, T, H, D), k and v (B, S, K, D) → (B, T, H, D).

    S is T, or another length where q looks into another text (`causal` False, `mask` (B, S): which positions there are).
    `layer` names the slots' tensors (`keys.LAYER`, `values.LAYER`); `rolling` turns what stands in rolling ones. `mask`
    (B, S), `documents` (B, T), `prefix` (B,), `order` (B, T), `window` and `sinks`: see `visibility`; with `order` there are
    two rows of q for each of k. `blocks`: what `documents`, `window` and `sinks` say, ready for a GPU (packed.py). `bias`
    (1 or B, H, T, S) is added to the scores; with `softcap` c they become c · tanh(scores / c) first (Gemma 2). `scale`
    None is 1/√D.
    """
    assert window is not None or not sinks, "sinks without a window have no effect"
    if slots is not None and causal:
        assert documents is None, "a row with slots is one document"
        assert layer is not None, "slots need to know the layer"
        slots.write(f"keys.{layer}", k)
        slots.write(f"values.{layer}", v)
        if slots.longest > 0 or rolling is not None:
            k, v = slots.read(f"keys.{layer}").to(q.dtype), slots.read(f"values.{layer}").to(q.dtype)
            visible = visibility.continued(slots, q.shape[1], k.shape[1], window, sinks)
            bias = None if bias is None else bias[..., : k.shape[1]]  # what padding would write past the end is not read
            if rolling is not None:
                scale = q.shape[-1] ** -0.5 if scale is None else scale
                q, k = rolling.turn(q, k)
            return _attend(q, k, v, visible, False, bias, softcap, scale)
    if blocks is not None:
        return packed.by_blocks(q, k, v, blocks, scale)
    plain = causal and prefix is None and order is None and (window is None or q.shape[1] <= window)
    if plain and bias is None and softcap is None:
        if documents is None:
            return _attend(q, k, v, None, True, None, None, scale)
        if lengths := packed.lengths(documents, q.shape[2] * q.shape[3]):
            queries, keys, values = (x.reshape(1, -1, *x.shape[2:]).split(lengths, 1) for x in (q, k, v))
            each = [_attend(*piece, visible=None, causal=True, bias=None, softcap=None, scale=scale)
                    for piece in zip(queries, keys, values)]  # fmt: skip
            return torch.cat(each, 1).view(*q.shape[:3], v.shape[3])
    if order is not None:
        k, v = torch.cat([k, k]), torch.cat([v, v])
        visible = visibility.ordered(order, documents, mask)
    else:
        visible = visibility.within(q.shape[1], q.device, causal, mask, documents, prefix, window, sinks)
    return _attend(q, k, v, visible, False, bias, softcap, scale)


def _attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, causal: bool, bias: Tensor | None,
            softcap: float | None, scale: float | None) -> Tensor:  # fmt: skip
    """`visible` (B or 1, 1, T or 1, S) bool, None for all; `causal` alone where it says everything."""
    assert softcap is None or bias is None, "a bias beside a softcap: no published model has both, and their order is not defined"
    grouped = q.shape[2] != k.shape[2]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    bias = None if bias is None else bias.to(q.dtype)
    if softcap is None and not _step_by_step(q, k):
        if bias is not None:
            visible = bias if visible is None else torch.where(visible, bias, float("-inf"))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    if grouped:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.mT
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    if causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if visible is not None:  # not by -inf: a position of padding that sees none has numbers, which nobody reads
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    return (scores.softmax(-1) @ v).transpose(1, 2)


def _step_by_step(q: Tensor, k: Tensor) -> bool:
    """Whether products, softmax and products one after the other are the faster way to learn: torch's one call for them, on a
    CPU, takes 3 to 12 times as long in bfloat16 and up to 3 times in float32 where rows are short (LOG.md, 23 November 2026)."""
    if q.device.type != "cpu" or not q.requires_grad or not torch.is_grad_enabled():
        return False
    return max(q.shape[-2], k.shape[-2]) <= (SHORT if q.dtype == torch.float32 else SHORT_HALF)
