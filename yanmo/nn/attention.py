"""The one attention call. Every layer that attends calls `attend`; what it remembers goes through the Slots protocol.

Shapes: B rows, T new positions, S positions attended to, H query heads, K key/value heads (K divides H: grouped-query
attention, Ainslie et al. 2023, arXiv:2305.13245), D head size. The arithmetic is torch's scaled_dot_product_attention.

Who sees whom:
    causal                  position t of a row sees the positions up to its own. Padding stands on the right, so no
                            token ever sees it, and no mask is needed: the fast path.
    causal with documents   and only those of its own document (rows packed with several).
    causal with slots       and what the row remembers; each row counts from its own length.
    not causal              the whole row, without its padding and without other documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yanmo.core.errors import RequestError
from yanmo.core.messages import text

if TYPE_CHECKING:
    from yanmo.models.base import Slots


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
    bias: Any = None,
    sinks: Any = None,
    memory: Any = None,
    window: Any = None,
    softcap: Any = None,
    scale: float | None = None,
) -> Tensor:
    """softmax(q kᵀ · scale) v over what each position may see: q (B, T, H, D), k and v (B, T, K, D) → (B, T, H, D).

    `layer` names the slots' tensors (`keys.LAYER`, `values.LAYER`). `scale` None is 1/√D. What this attention does not
    know (`bias`, `sinks`, `memory`, `window`, `softcap`) raises RequestError when given: dropped silently, it would
    give other logits than the model was trained with.
    """
    unknown = {"bias": bias, "sinks": sinks, "memory": memory, "window": window, "softcap": softcap}
    for name, value in unknown.items():
        if value is not None:
            raise RequestError(text("attention"), None, text("'{name}' is needed and is not supported", name=name))
    visible = None
    if slots is not None:
        assert causal, "slots remember what came before: only causal attention goes on from them"
        assert documents is None, "a row with slots is one document"
        assert layer is not None, "slots need to know the layer"
        slots.write(f"keys.{layer}", k)
        slots.write(f"values.{layer}", v)
        if slots.longest > 0:
            steps = q.shape[1]
            k, v = slots.read(f"keys.{layer}").to(q.dtype), slots.read(f"values.{layer}").to(q.dtype)
            visible = continued(slots, steps, k.shape[1])
            causal = False
    elif documents is not None or not causal:
        visible = within(documents, mask, causal)
        causal = False
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
        attn_mask=visible, is_causal=causal, scale=scale, enable_gqa=q.shape[2] != k.shape[2],
    )  # fmt: skip
    return out.transpose(1, 2)


def continued(slots: Slots, steps: int, size: int) -> Tensor | None:
    """(B, 1, T, S) bool: new position t of a row sees position s ≤ its length + t. None where that hides nothing: one
    new token behind rows of one length."""
    if steps == 1 and slots.even:
        return None
    lengths = slots.lengths
    ends = lengths[:, None] + torch.arange(steps, device=lengths.device)
    return (torch.arange(size, device=lengths.device) <= ends[:, :, None])[:, None]


def within(documents: Tensor | None, mask: Tensor | None, causal: bool) -> Tensor | None:
    """(B, 1, T, T) or (B, 1, 1, T) bool: which positions of its row each position sees; None for all of them.

    A padded position sees what the row's tokens show it (its output is nobody's), so that no softmax is over nothing; a
    row of nothing but padding gives values that are not numbers, which stay in that row."""
    if documents is None:
        return None if mask is None else mask[:, None, None, :]
    visible = documents[:, :, None] == documents[:, None, :]
    if causal:
        visible = visible.tril()
    elif mask is not None:
        steps = torch.arange(mask.shape[1], device=mask.device)
        visible = visible & (mask[:, None, :] | (steps[:, None] == steps))
    return visible[:, None]
