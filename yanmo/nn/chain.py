"""A conditional random field on top of a network that scores labels place by place (Lafferty et al. 2001; Lample et al. 2016,
section 2.2): what follows what is learned, and what the scheme of the tags cannot write has no probability.

    ln p(y | x) = score(x, y) - ln Z(x),    score = Σₜ e[t, yₜ] + Σₜ follows[yₜ₋₁, yₜ] + begins[y₁] + ends[y_T]

ln Z is the forward algorithm in log space over all rows of a batch at one time; its gradient, the labels' and the pairs' expected
counts, is written down (forward-backward), so that no graph of T steps is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.text.potentials import Potentials
from yanmo.text.tags import Grammar


class Partition(torch.autograd.Function):
    """ln Σ exp score over all sequences, (B,), of scores (B, T, L) whose first `lengths` (B,) places count, at least one each,
    and of transitions (L, L) from row to column. Scores may be -inf where a sequence without them is left."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, follows: Tensor, lengths: Tensor) -> Tensor:
        steps = scores.transpose(0, 1)
        ahead = [steps[0]]
        for place in range(1, len(steps)):
            reached = torch.logsumexp(ahead[-1][:, :, None] + follows, 1) + steps[place]
            ahead.append(torch.where((lengths > place)[:, None], reached, ahead[-1]))
        total = torch.logsumexp(ahead[-1], 1)
        ctx.save_for_backward(steps, follows, lengths, torch.stack(ahead), total)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        steps, follows, lengths, ahead, total = ctx.saved_tensors
        [slope] = slopes
        counts, pairs = torch.zeros_like(steps), torch.zeros_like(follows)
        behind = torch.zeros_like(steps[0])
        for place in range(len(steps) - 1, -1, -1):
            counts[place] = (ahead[place] + behind - total[:, None]).exp() * (slope * (lengths > place))[:, None]
            if place:
                inside = lengths > place
                moved = follows + (steps[place] + behind)[:, None, :]  # (B, L, L)
                expected = (ahead[place - 1][:, :, None] + moved - total[:, None, None]).exp()
                pairs += (slope[:, None, None] * torch.where(inside[:, None, None], expected, 0.0)).sum(0)
                behind = torch.where(inside[:, None], torch.logsumexp(moved, 2), behind)
        return counts.transpose(0, 1), pairs, None


class Chain(nn.Module):
    """The transitions among tags `names`. A row that is part of a text (`starts`, `stops`: whether it holds its first place and
    its last) is weighed as a part: there the text neither begins nor ends."""

    begins_barred: Tensor
    follows_barred: Tensor
    ends_barred: Tensor

    def __init__(self, names: Sequence[str]):
        super().__init__()
        grammar, count = Grammar.of(names), len(names)
        self.begins = nn.Parameter(torch.zeros(count))
        self.follows = nn.Parameter(torch.zeros(1, count, count))  # no matrix that maps vectors: not for Muon or weight decay
        self.ends = nn.Parameter(torch.zeros(count))
        for name in ("begins", "follows", "ends"):
            barred = torch.from_numpy(~getattr(grammar, name)).view(getattr(self, name).shape)
            self.register_buffer(f"{name}_barred", barred, persistent=False)

    def weighed(self) -> tuple[Tensor, Tensor, Tensor]:
        """(begins (L,), follows (L, L), ends (L,)) float32, -inf for what is barred."""
        begins, follows, ends = (getattr(self, name).float().masked_fill(getattr(self, f"{name}_barred"), float("-inf"))
                                 for name in ("begins", "follows", "ends"))  # fmt: skip
        return begins, follows[0], ends

    def surprise(self, scores: Tensor, labels: Tensor, starts: Tensor, stops: Tensor) -> Tensor:
        """-ln p of each row's labels, (B,). `scores` (B, T, L); `labels` (B, T), below 0 where a place does not count: the
        places that do follow one another; `starts` and `stops` (B,) bool."""
        counted = labels >= 0
        lengths = counted.sum(1)
        order = counted.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, : max(int(lengths.max()), 1)]
        labels = labels.gather(1, order).clamp_min(0)
        scores = scores.float().gather(1, order[..., None].expand(-1, -1, scores.shape[-1]))
        begins, follows, ends = self.weighed()
        at = torch.arange(scores.shape[1], device=scores.device)
        first = (at == 0) & starts[:, None]
        last = (at == (lengths - 1)[:, None]) & stops[:, None]
        scores = torch.where(first[..., None], scores + begins, scores)
        scores = torch.where(last[..., None], scores + ends, scores)
        total = Partition.apply(scores, follows, lengths.clamp_min(1))
        own = scores.gather(2, labels[..., None]).squeeze(2)
        moves = follows[labels[:, :-1], labels[:, 1:]]
        told = torch.where(at < lengths[:, None], own, 0.0).sum(1) + torch.where(at[1:] < lengths[:, None], moves, 0.0).sum(1)
        return torch.where(lengths > 0, total - told, 0.0)

    def potentials(self) -> Potentials:
        """What is decoded with."""
        with torch.no_grad():
            whole = (_whole(part) for part in self.parameters())
            values = [value.detach().double().cpu().numpy() for value in whole]
        barred = [part.cpu().numpy() for part in (self.begins_barred, self.follows_barred, self.ends_barred)]
        for value, bar in zip(values, barred, strict=True):
            value[bar] = float("-inf")
        return Potentials(values[0], values[1][0], values[2])


def _whole(part: Any) -> Tensor:
    """A parameter, put together where several processes hold slices of it."""
    return part.full_tensor() if hasattr(part, "full_tensor") else part
