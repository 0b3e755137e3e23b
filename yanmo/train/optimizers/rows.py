"""Tables of which a step touches a few rows: hashed n-grams. Their gradients are sparse, and Adam moves the touched rows alone.

What Adam remembers of a row stands still until the row is touched again, as in torch's SparseAdam ("lazy" Adam), whose state
is no tensors throughout and could not be saved. There is one rule for every optimizer: what moves matrices well (an orthogonal
momentum, a sign, a factored moment) says nothing of a row that is seen three times in a run.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

NAME = "tables"  # of the group
BETAS, EPS = (0.8, 0.99), 1e-10


def own() -> dict[str, Any]:
    """What the group has beside its rate: neither decay nor a penalty, which would move every row in every step."""
    return {"weight_decay": 0.0, "l1": 0.0, "l2": 0.0}


def held(parameters: list[Tensor]) -> list[Tensor]:
    """The parameters' gradients as dense tensors to change in place: of a sparse one, the rows that it has, each once."""
    found = []
    for parameter in parameters:
        if parameter.grad is not None:
            if parameter.grad.is_sparse and not parameter.grad.is_coalesced():
                parameter.grad = parameter.grad.coalesce()
            found.append(parameter.grad._values() if parameter.grad.is_sparse else parameter.grad)
    return found


@torch.no_grad()
def move(group: dict[str, Any], remembered: dict[Tensor, dict[str, Tensor]]) -> None:
    """One step of a group of tables. Their gradients are gone after it, so that no other rule takes them."""
    first, second = BETAS
    for table in group["params"]:
        if table.grad is None:
            continue
        (gradient,) = held([table])
        rows, state = table.grad._indices()[0], remembered[table]
        table.grad = None
        if "mean" not in state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(table), "square": torch.zeros_like(table)}
        state["step"] += 1
        mean = state["mean"][rows].lerp_(gradient, 1 - first)
        square = state["square"][rows].lerp_(gradient.square(), 1 - second)
        state["mean"][rows], state["square"][rows] = mean, square
        step = float(state["step"])
        deviation = square.sqrt_().div_(math.sqrt(1 - second**step)).add_(EPS)
        table[rows] -= mean.div_(deviation).mul_(group["lr"] / (1 - first**step))
