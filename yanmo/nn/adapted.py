"""A linear map that stays as it is, with a small one beside it that learns: LoRA (Hu et al. 2021, arXiv:2106.09685) and DoRA
(Liu et al. 2024, arXiv:2402.09353).

    LoRA   y = W x + s · B A x                       A (r, I) drawn, B (O, r) zero at first: the map begins as it was
    DoRA   y = m · (W + s · B A) x / |W + s · B A|   m (O,) the lengths of W's rows at first, the norm taken as a constant
                                                     (section 4.3)

Several maps side by side in one matrix (queries, keys and values) have a pair of their own each, or none. One pass writes the
product with the frozen matrix once and adds the small products into it; the backward pass needs the input, what A made of it
and nothing else, so that a layer holds no more than an ordinary one. The matrix may be kept in four bits (`four.py`): it is
made when it is needed, forward and backward, and forgotten.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from yanmo.nn.dropout import dropout

Spans = dict[str, tuple[int, int]]  # piece → its rows [start, end) of the matrix


class LowRank(torch.autograd.Function):
    """x (…, I) → W x + scale · B A z (…, O), z being x or x with dropout; `layer.weight` is W, without a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor, layer: Any, bias: Tensor | None, scale: float, spans: list[tuple[int, int]],
                *factors: Tensor) -> Tensor:  # fmt: skip
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        same = z is x
        with torch.autocast(device, enabled=False):
            flat = x.reshape(-1, x.shape[-1]).to(dtype)
            given = flat if same else z.reshape(-1, z.shape[-1]).to(dtype)
            down, ups = torch.cat(factors[: len(spans)]).to(dtype), [b.to(dtype) for b in factors[len(spans) :]]
            weight = layer.weight.to(dtype)
            out = flat @ weight.T if bias is None else torch.addmm(bias.to(dtype), flat, weight.T)
            small = given @ down.T
            rank = factors[0].shape[0]
            for index, ((start, end), up) in enumerate(zip(spans, ups)):
                out[:, start:end].addmm_(small[:, index * rank : (index + 1) * rank], up.T, alpha=scale)
        ctx.layer, ctx.scale, ctx.spans, ctx.same, ctx.dtype = layer, scale, spans, same, dtype
        ctx.shape, ctx.types = x.shape, [x.dtype, *(factor.dtype for factor in factors)]
        ctx.save_for_backward(given, small, down, *ups)
        return out.view(*x.shape[:-1], out.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Any, ...]:
        given, small, down, *ups = ctx.saved_tensors
        count = len(ctx.spans)
        with torch.autocast(given.device.type, enabled=False):
            slope = slopes[0].reshape(-1, slopes[0].shape[-1]).to(ctx.dtype)
            rank = down.shape[0] // count
            back = torch.empty_like(small)
            rises = []
            for index, ((start, end), up) in enumerate(zip(ctx.spans, ups)):
                part, own = slope[:, start:end], slice(index * rank, (index + 1) * rank)
                torch.mm(part, up, out=back[:, own])
                rises.append((part.T @ small[:, own]).mul_(ctx.scale))
            back.mul_(ctx.scale)
            falls = list((back.T @ given).split(rank))
            to_x = slope @ ctx.layer.weight.to(ctx.dtype) if ctx.needs_input_grad[0] else None
            to_z = None
            if ctx.same and to_x is not None:
                to_x.addmm_(back, down)
            elif not ctx.same and ctx.needs_input_grad[1]:
                to_z = back @ down
        first, *types = ctx.types
        made = [x if x is None else x.view(ctx.shape).to(first) for x in (to_x, to_z)]
        return (*made, None, None, None, None, *(x.to(dtype) for x, dtype in zip([*falls, *rises], types)))


class AdaptedLinear(nn.Module):
    """`base` (a linear layer, or one in four bits) with pairs `down` (r, I) and `up` (rows, r) for some of its pieces.

    `spans`: piece → its rows. `magnitude` (rows,) where the rows have lengths of their own (DoRA). `names`: what the matrix is
    called where it was published, for saving."""

    def __init__(self, base: Any, spans: Spans, rank: int, scale: float, dropout: float = 0.0, lengths: bool = False,
                 names: tuple[str, ...] = ()):  # fmt: skip
        super().__init__()
        self.base, self.spans, self.rank, self.scale, self.dropout, self.names = base, spans, rank, scale, dropout, names
        sizes = {piece: end - start for piece, (start, end) in spans.items()}
        device = base.weight.device
        self.down = nn.ParameterDict({p: nn.Parameter(torch.empty(rank, base.in_features, device=device)) for p in sizes})
        self.up = nn.ParameterDict({p: nn.Parameter(torch.zeros(size, rank, device=device)) for p, size in sizes.items()})
        self.magnitude = nn.ParameterDict(
            {p: nn.Parameter(torch.empty(size, device=device)) for p, size in sizes.items()} if lengths else {}
        )
        self.register_buffer("squares", base.weight.detach().square().sum(1) if lengths else None, persistent=False)

    @property
    def in_features(self) -> int:
        return int(self.base.in_features)

    @property
    def out_features(self) -> int:
        return int(self.base.out_features)

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        """`down` uniform within ±1/√I, drawn on the CPU, `up` zero: the layer begins as its base."""
        bound = 1 / math.sqrt(self.in_features)
        for piece in self.spans:
            down = self.down[piece]
            down.copy_(torch.rand(down.shape, generator=rng).mul_(2 * bound).sub_(bound))
            self.up[piece].zero_()
        for piece, magnitude in self.magnitude.items():
            start, end = self.spans[piece]
            magnitude.copy_(self.squares[start:end].sqrt())  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        z = dropout(x, self.dropout, self.training)
        factors = [part[piece] for part in (self.down, self.up) for piece in self.spans]  # a ParameterDict sorts its keys
        if not self.magnitude:
            return LowRank.apply(x, z, self.base, self.base.bias, self.scale, list(self.spans.values()), *factors)
        out = LowRank.apply(x, z, self.base, None, self.scale, list(self.spans.values()), *factors)
        out = out * self.stretch().to(out.dtype)
        return out if self.base.bias is None else out + self.base.bias.to(out.dtype)

    def stretch(self) -> Tensor:
        """(O,): what each row of W + s · B A is multiplied with: its magnitude over its norm; 1 where there is none."""
        whole = torch.ones(self.out_features, device=self.base.weight.device)
        parts, last = [], 0
        for piece, (start, end) in self.spans.items():
            parts += [whole[last:start], self.magnitude[piece] / self._norm(piece).clamp(min=1e-12)]
            last = end
        return torch.cat([*parts, whole[last:]])

    @torch.no_grad()
    def _norm(self, piece: str) -> Tensor:
        """(rows,): |W + s · B A| row by row, without making the matrix: |w|² + 2s · b · (A w) + s² · b · (A Aᵀ) b."""
        (start, end), up, down = self.spans[piece], self.up[piece], self.down[piece]
        cross = ((self.base.weight[start:end] @ down.T) * up).sum(1)
        own = ((up @ (down @ down.T)) * up).sum(1)
        return (self.squares[start:end] + 2 * self.scale * cross + self.scale**2 * own).clamp(min=0).sqrt()  # type: ignore[index]

    @torch.no_grad()
    def merged(self) -> Tensor:
        """(O, I): one matrix that maps as this layer does when it is not trained."""
        weight = self.base.weight.detach().clone()
        for piece, (start, end) in self.spans.items():
            weight[start:end].addmm_(self.up[piece], self.down[piece], alpha=self.scale)
        return weight * self.stretch()[:, None] if self.magnitude else weight
