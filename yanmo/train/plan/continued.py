"""Training that goes on from a model that is there: what differs from a fresh one.

    rates      a tenth of those for a fresh model, wherever the recipe leaves them open: large steps forget, and no step at all
               learns nothing; the rise from nothing to the peak is the re-warming (Gupta et al. 2023, arXiv:2308.04014)
    schedule   up in a tenth of the steps, then half a cosine down to a tenth of the peak (Ibrahim et al. 2024, arXiv:2403.08763)
    length     EPOCHS times through the corpus where nothing says how long
    micro      so many rows at a time that what the backward pass needs of them fits into HELD bytes, by counting it on a row

The figures behind the first three are in LOG.md. What is counted depends on the model alone, so the same recipe makes the same
plan on every machine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yanmo.core.config import Part
from yanmo.core.data import Row
from yanmo.core.registry import create
from yanmo.train.optimizers.groups import width_of
from yanmo.train.plan.decisions import device_of
from yanmo.train.settings import Train

RATE = 0.1  # of a fresh model's
SCHEDULE = {"type": "cosine", "warmup": 0.1, "final": 0.1}
EPOCHS = 2.0
HELD = {"cpu": 1 << 30, "cuda": 16 << 30}  # bytes
MICRO = {"cpu": 4096, "cuda": 32_768}  # tokens at most, as for a fresh model
LENGTHS = (32, 64)  # tokens of the rows that are counted on


class LoadedModel(Part):
    """A model that was loaded, as a plan sees it: sizes, and what a token costs."""

    family: str = ""
    kind: str = ""
    depth: int | None = None
    width: int | None = None
    context: int | None = None
    numbers: int = 0
    multiplied: float = 0.0  # floating-point operations to train on one token, without attention
    attended: float = 0.0  # and for each position of the context

    def parameters(self, vocabulary: int) -> int:
        return self.numbers

    def flops(self, vocabulary: int, context: int) -> float:
        return self.multiplied + self.attended * context


def described(model: Any) -> LoadedModel:
    """What a plan needs to know of `model`."""
    part = getattr(model, "part", None)
    if part is not None:
        multiplied = part.flops(model.vocabulary, 0)
        attended = part.flops(model.vocabulary, 1) - multiplied
        depth = part.depth
    else:  # a module of transformers
        config = model.inner.config
        tables = model.vocabulary * (model.width or 1)
        multiplied = 6.0 * max(sum(p.numel() for p in model.parameters() if p.ndim > 1), tables)
        depth = getattr(config, "num_hidden_layers", None)
        attended = 12.0 * (depth or 0) * (model.width or 0)
    return LoadedModel(type=model.family, family=model.family, kind=model.kind, depth=depth, width=model.width,
                       context=model.context, numbers=sum(p.numel() for p in model.parameters()), multiplied=multiplied,
                       attended=attended)  # fmt: skip


def begin(train: Train, model: Any, objective: Any, tokens: list[int], minutes: float | None) -> Train:
    """`train` with what it leaves open filled in for going on from `model`; `tokens`: some of the corpus's; `minutes`: the
    budget's share."""
    micro = train.micro_tokens or micro_tokens(cost(model, objective, tokens).token, device_of(train))
    return filled(train, width_of(model), train.minutes is not None or minutes is not None, micro)


def filled(train: Train, width: int, timed: bool, micro: int) -> Train:
    """`timed`: whether a clock decides how long; `micro`: tokens of one pass."""
    found: dict[str, Any] = {"optim": gentle(train.optim or create("optimizer", "adamw"), width), "micro_tokens": micro}
    if train.schedule is None:
        found["schedule"] = create("schedule", SCHEDULE)
    if not timed and not (train.steps or train.tokens or train.epochs):
        found["epochs"] = EPOCHS
    return train.model_copy(update=found)


def gentle(optimizer: Any, width: int) -> Any:
    """The optimizer with each rate that the recipe leaves open at RATE of what a fresh model of the width gets."""
    full = optimizer.filled(width)
    open_rates = [name for name in type(optimizer).model_fields
                  if name.endswith("lr") and getattr(optimizer, name) is None and getattr(full, name) is not None]  # fmt: skip
    return optimizer.model_copy(update={name: round(RATE * getattr(full, name), 10) for name in open_rates})


def still(model: nn.Module) -> None:
    """Takes the dropout out of the attention of a module of transformers that ours stands in for, which has none."""
    for module in model.modules():
        if type(module).__name__.endswith("Attention"):
            for name, value in list(vars(module).items()):
                if "dropout" in name and isinstance(value, float):
                    setattr(module, name, 0.0)


class Cost(NamedTuple):
    """Bytes that the backward pass needs."""

    token: float
    rest: float  # whatever the number of tokens


def cost(model: nn.Module, objective: Any, tokens: list[int]) -> Cost:
    """By counting what the passes over two rows, of LENGTHS tokens out of `tokens` where the context allows, keep for their
    backward pass."""
    found = []
    shrink = min(1.0, (getattr(model, "context", None) or LENGTHS[-1]) / LENGTHS[-1])
    for length in (max(int(shrink * length), index + 6) for index, length in enumerate(LENGTHS)):
        row = (tokens * (length // max(len(tokens), 1) + 2))[: objective.stretch(length) + objective.overlap]
        batch = objective.collate([Row(row, None, example="0")], torch.Generator().manual_seed(0))
        found.append((length, _kept(model, objective, batch.to(next(model.parameters()).device))))
    (short, few), (long, many) = found
    token = max((many - few) / (long - short), 1.0)
    return Cost(token, max(few - token * short, 0.0))


def _kept(model: nn.Module, objective: Any, batch: Any) -> int:
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sizes: dict[int, int] = {}
    held: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    training = model.training
    model.train()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        objective.loss(model, batch)
    model.train(training)
    return sum(sizes.values())


def micro_tokens(token_bytes: float, device: torch.device) -> int:
    """Tokens of one forward and backward pass."""
    kind = device.type if device.type in HELD else "cpu"
    return max(1, min(MICRO[kind], int(HELD[kind] / token_bytes)))
