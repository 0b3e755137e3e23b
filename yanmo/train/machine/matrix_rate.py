"""How fast this machine multiplies the matrices of this model: what the speed of a training is held against.

Every weight of the model is multiplied as a training step does: once forward, once for the gradient of its input and once for
its own, with the rows of one micro-batch (fewer where that would take too long). Of each shape the fastest round counts, as
whatever else disturbs only slows down. It takes a fraction of a second, draws from a generator of its own and changes nothing.
"""

from __future__ import annotations

import time
from collections import Counter

import torch
from torch import Tensor, nn

from yanmo.models.adapter import shelved
from yanmo.nn.adapted import AdaptedLinear
from yanmo.nn.four import FourLinear

SECONDS = 0.25  # of measuring, about; every shape is measured twice whatever that takes
WORK = {"cpu": 4e9, "cuda": 2e12}  # operations of one round over all shapes, at most: what bounds the rows
FEWEST = 64  # rows: with fewer, products run at another rate


def shapes_of(model: nn.Module) -> Counter[tuple[int, int]]:
    """(outputs, inputs) of each weight that a token is multiplied with → how many of them there are.

    Tables that are only looked up do not count; an embedding that is the head as well (tied) does. The pairs of an adapter do
    not: they are too thin to tell a machine's rate by, and next to nothing beside what they stand at."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv1d)]
    apart = {id(module.weight) for module in (*tables, *convolutions)}
    apart |= {id(thin) for module in model.modules() if isinstance(module, AdaptedLinear)
              for side in (module.down, module.up) for thin in side.values()}  # fmt: skip
    found = Counter((len(layer.weight), layer.weight[0].numel()) for layer in convolutions)  # all that a filter sees at once
    for weight in (*model.parameters(), *shelved(model)):
        if id(weight) not in apart and weight.ndim in (2, 3) and min(weight.shape[-2:]) > 1:
            found[(weight.shape[-2], weight.shape[-1])] += 1
    found.update((layer.out_features, layer.in_features) for layer in model.modules() if isinstance(layer, FourLinear))
    first = getattr(model, "embedding", None)
    if isinstance(first, nn.Embedding) and getattr(model, "head", first) is None:
        found[(first.weight.shape[0], first.weight.shape[1])] += 1
    return found


def matrix_rate(model: nn.Module, rows: int, device: torch.device, precision: str) -> float | None:
    """Operations a second, over all shapes as often as the model has them; None for a model without matrices."""
    shapes = shapes_of(model)
    if not shapes:
        return None
    cost = {shape: 6.0 * shape[0] * shape[1] for shape in shapes}  # of one row: three products, an addition for each product
    bound = WORK.get(device.type, WORK["cpu"]) / sum(cost.values())
    rows = max(FEWEST, min(rows, int(bound)))
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    rng = torch.Generator(device).manual_seed(0)
    made = {(o, i): [torch.randn(size, generator=rng, device=device, dtype=torch.float32).to(kind)
                     for size in ((rows, i), (o, i), (rows, o))] for o, i in shapes}  # fmt: skip
    best = dict.fromkeys(shapes, float("inf"))
    begun, rounds = _now(device), 0
    while rounds < 2 or _now(device) - begun < SECONDS:
        for shape, tensors in made.items():
            best[shape] = min(best[shape], _timed(tensors, device))
        rounds += 1
    operations = sum(cost[shape] * count * rows for shape, count in shapes.items())
    return operations / sum(best[shape] * count for shape, count in shapes.items())


@torch.no_grad()
def _timed(tensors: list[Tensor], device: torch.device) -> float:
    """Seconds of x·Wᵀ, g·W and gᵀ·x, of x (R, I), W (O, I) and g (R, O)."""
    x, weight, gradient = tensors
    begun = _now(device)
    torch.mm(x, weight.t())
    torch.mm(gradient, weight)
    torch.mm(gradient.t(), x)
    return _now(device) - begun


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
