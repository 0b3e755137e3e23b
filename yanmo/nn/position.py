"""How a stack of blocks learns where its tokens stand: the parts that a recipe names, and the modules that they make.

    rotary      queries and keys are turned by their position              rope.py
    learned     a vector a position, added to the embedding                Vaswani et al. 2017; BERT, GPT-2
    relative    a number a head for each range of distances, added to the attention's scores   Raffel et al. 2020 (T5)
    alibi       scores fall with the distance, by a fixed slope a head     Press et al. 2022, arXiv:2108.12409
    none        nothing: a causal stack can tell order by itself           Kazemnejad et al. 2023, arXiv:2305.19466

A module answers three questions, each with None or its argument where it has nothing to say: what to add to the embeddings
(`embed`), which tables turn queries and keys (`tables`), what to add to the scores (`bias`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from yanmo.core.config import Part
from yanmo.nn.init import embedding
from yanmo.nn.rope import Rotary, Scaling

Tables = tuple[Tensor, Tensor]


class Position(nn.Module):
    """What every kind answers; positions are (1 or B, T) int64."""

    absolute = False  # whether a packed document's positions are counted from its own beginning

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x

    def tables(self, positions: Tensor, longest: int, local: bool = False, furthest: int = 0) -> Tables | None:
        """Cosines and sines for positions of a text of length `longest`; `local`: of the layers with a window; `furthest`:
        see `Rotary`."""
        return None

    def bias(self, positions: Tensor, size: int) -> Tensor | None:
        """(1 or B, H, T, S) float32 for keys at 0 … S−1."""
        return None


class PositionPart(Part):
    """A position encoding's settings."""

    def build(self, sizes: Any, causal: bool) -> Position:
        """`sizes`: a complete Transformer's settings; `causal`: whether its stack looks back only."""
        raise NotImplementedError


class RotaryPosition(PositionPart):
    """Rotary position embedding with base `theta`, on the first `share` of each head; `scaling` stretches it beyond the
    context that it was trained with, `local_theta` is the base of the layers with a window."""

    type: str = "rotary"
    theta: float = Field(default=10_000.0, gt=0)
    share: float = Field(default=1.0, gt=0, le=1)
    scaling: Scaling | None = None
    local_theta: float | None = Field(default=None, gt=0)

    def build(self, sizes: Any, causal: bool) -> RotaryTables:
        return RotaryTables(self, sizes.head_size, sizes.context)


class LearnedPosition(PositionPart):
    """A learned vector for every position of the context; the table begins with `offset` rows that stand for none."""

    type: str = "learned"
    offset: int = Field(default=0, ge=0)

    def build(self, sizes: Any, causal: bool) -> Learned:
        return Learned(sizes.context, sizes.width, self.offset)


class RelativePosition(PositionPart):
    """T5's: `buckets` ranges of distances, exact for near ones and logarithmic up to `distance`."""

    type: str = "relative"
    buckets: int = Field(default=32, ge=4)
    distance: int = Field(default=128, ge=8)

    def build(self, sizes: Any, causal: bool) -> Relative:
        return Relative(self, sizes.heads, causal)


class AlibiPosition(PositionPart):
    """Scores fall linearly with the distance; reads longer texts than it was trained with."""

    type: str = "alibi"

    def build(self, sizes: Any, causal: bool) -> Alibi:
        return Alibi(sizes.heads)


class NoPosition(PositionPart):
    """No position encoding."""

    type: str = "none"

    def build(self, sizes: Any, causal: bool) -> Position:
        return Position()


class RotaryTables(Position):
    def __init__(self, part: RotaryPosition, head_size: int, context: int | None):
        super().__init__()
        size = 2 * int(head_size * part.share / 2)
        self.full = Rotary(size, part.theta, part.scaling, context)
        self.near = Rotary(size, part.local_theta) if part.local_theta is not None else self.full

    def tables(self, positions: Tensor, longest: int, local: bool = False, furthest: int = 0) -> Tables:
        return (self.near if local else self.full)(positions, longest, furthest)


class Learned(Position):
    absolute = True

    def __init__(self, context: int, width: int, offset: int):
        super().__init__()
        self.table = embedding(context + offset, width)
        self.offset = offset

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + self.table((positions + self.offset).clamp(max=self.table.num_embeddings - 1))


class Relative(Position):
    """`table` (buckets, H). Looking both ways, half of the buckets are for keys behind the query and half for those
    ahead; looking back, all are for those behind (Raffel et al. 2020, section 2.1)."""

    def __init__(self, part: RelativePosition, heads: int, causal: bool):
        super().__init__()
        self.table = embedding(part.buckets, heads)
        self.distance, self.causal = part.distance, causal

    def bias(self, positions: Tensor, size: int) -> Tensor:
        offset = torch.arange(size, device=positions.device) - positions[:, :, None]  # (B, T, S) key - query
        buckets, bucket = self.table.num_embeddings, torch.zeros_like(offset)
        if not self.causal:
            buckets //= 2
            bucket = (offset > 0) * buckets
            offset = -offset.abs()
        back = (-offset).clamp(min=0)
        exact = buckets // 2
        far = exact + (torch.log(back.clamp(min=1).float() / exact) / math.log(self.distance / exact) * (buckets - exact)).long()
        bucket = bucket + torch.where(back < exact, back, far.clamp(max=buckets - 1))
        return self.table(bucket).permute(0, 3, 1, 2)


class Alibi(Position):
    """Slopes 2^(−8 i / H) for i = 1 … H, for a number of heads that is no power of two as the paper's code fills them in."""

    def __init__(self, heads: int):
        super().__init__()
        whole = 2 ** int(math.log2(heads))
        slopes = [2 ** (-8 * i / whole) for i in range(1, whole + 1)]
        slopes += [2 ** (-4 * i / whole) for i in range(1, 2 * (heads - whole), 2)]
        self.slopes = slopes

    def bias(self, positions: Tensor, size: int) -> Tensor:
        slopes = torch.tensor(self.slopes, device=positions.device)
        distance = (torch.arange(size, device=positions.device) - positions[:, :, None]).abs()
        return -slopes[:, None, None] * distance[:, None]
