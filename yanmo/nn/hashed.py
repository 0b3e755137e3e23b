"""Embeddings of the last few tokens together, found by hashing: what a short context says, looked up instead of computed.

For each order n a table of `rows` vectors; the n tokens that end at a position pick one row of it, by a hash, and the rows of
all orders are added to what the position is embedded as. They begin at zero, so that a fresh model is the one without them.
n-grams that fall on one row share it (the hashing trick, Weinberger et al. 2009, arXiv:0902.2206; for subwords Bojanowski et al.
2017, arXiv:1607.04606, section 3.2; hashed token n-grams for byte models, Pagnoni et al. 2024, arXiv:2412.09871, section 3.2.1).

A batch touches a few thousand of hundreds of thousands of rows: the tables' gradients are sparse, and the optimizer moves the
rows that were touched alone (`train/optimizers/rows.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FACTOR = 0x5851F42D4C957F2D  # Knuth's for 64 bits (MMIX), odd: multiplying by it loses nothing
ABSENT = -1  # instead of a token: there is none


class HashedGrams(nn.Module):
    """`table`: row 0 stays zero and stands for an n-gram that would begin before its text; then `rows` for each order."""

    def __init__(self, orders: tuple[int, ...], rows: int, width: int):
        super().__init__()
        self.orders, self.rows = orders, rows
        weight = torch.empty(1 + rows * len(orders), width)
        self.table = nn.EmbeddingBag(len(weight), width, mode="sum", sparse=True, padding_idx=0, _weight=weight)

    @property
    def back(self) -> int:
        """How many tokens before its own a position looks at."""
        return max(self.orders) - 1

    def forward(self, tokens: Tensor, documents: Tensor | None = None, before: Tensor | None = None) -> Tensor:
        """(B, T, width) of tokens (B, T), the sum over the orders. n-grams stay within a document (B, T). `before` (B, back):
        the tokens before the first, ABSENT where there are none; None: a text begins with each row."""
        count, steps = tokens.shape
        picked = self.table(self.picked(tokens, documents, before).view(count * steps, len(self.orders)))
        return picked.view(count, steps, -1)

    def picked(self, tokens: Tensor, documents: Tensor | None = None, before: Tensor | None = None) -> Tensor:
        """(B, T, orders) int64: the row of the table that each position's n-gram picks."""
        whole, steps = joined(tokens, before, self.back), tokens.shape[1]
        found, last = [], torch.zeros_like(tokens)
        there = torch.ones_like(tokens, dtype=torch.bool)
        for distance in range(max(self.orders)):
            token = whole[:, self.back - distance :][:, :steps]
            there = there & (token != ABSENT)
            if documents is not None and distance:
                same = torch.zeros_like(there)
                same[:, distance:] = documents[:, distance:] == documents[:, :-distance]
                there = there & same
            last = (last + token + 1) * FACTOR
            last = last ^ (last >> 29)  # what is high comes down, as the next product only moves up
            if distance + 1 in self.orders:
                place = self.orders.index(distance + 1)
                found.append(torch.where(there, 1 + place * self.rows + last % self.rows, 0))
        return torch.stack(found, -1)

    def after(self, tokens: Tensor, mask: Tensor | None, before: Tensor | None = None) -> Tensor:
        """(B, back): the last tokens of each row once these are read; `mask` (B, T) is False for padding on the right."""
        whole = joined(tokens, before, self.back)
        read = torch.full_like(tokens[:, 0], tokens.shape[1]) if mask is None else mask.sum(1)
        return whole.gather(1, read[:, None] + torch.arange(self.back, device=tokens.device))


def joined(tokens: Tensor, before: Tensor | None, back: int) -> Tensor:
    """(B, back + T)."""
    return torch.cat([tokens.new_full((len(tokens), back), ABSENT) if before is None else before, tokens], 1)
