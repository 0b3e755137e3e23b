"""What every optimizer has: settings that any of them takes, and the live thing that the loop works with.

    settings (`Optimizer`, a recipe's `train.optim`) --make(model)--> `Live`, a torch optimizer

A learning rate that the recipe leaves open follows from the model's width (`filled`); the schedule's factor multiplies the
group's own `peak`. Everything that an optimizer remembers lies in `optimizer.state`, tensor by tensor for each parameter,
so that a checkpoint holds all of it; what it draws at random follows from (seed, step).

In a step, in this order: weights drawn from a posterior, where there is one (`sampled`), gradients, clipping (`step.update`),
the gradients of L1 and L2 penalties, noise, and the rule itself, with its decoupled weight decay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from yanmo.core.config import Part
from yanmo.core.messages import text
from yanmo.train.optimizers import rows
from yanmo.train.optimizers.groups import WIDTH, freeze, groups_of, width_of

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]  # of a moving average: what stays of it
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TABLE_RATE = 0.03  # at width WIDTH
UNDECAYED = "vectors"  # norms, biases, scalars: neither decay nor a penalty pulls them to zero


class Optimizer(Part):
    """An optimizer's settings; `make` gives a torch optimizer whose groups carry `name` and `peak`.

    `weight_decay`: decoupled (a step multiplies a weight by 1 - lr · decay); `l1`, `l2`: penalties l1·|w| and l2·w²/2 in the
    gradient; norms and biases are left alone by all three. `noise`: normal noise of variance noise / (1 + step)^noise_decay is
    added to each gradient (Neelakantan et al. 2015, arXiv:1511.06807, equation 1). `layer_decay`: each layer has this share of
    the rate of the one above it. `table_lr`: of the tables of hashed n-grams, whatever the rule of the rest (`rows.py`); None:
    0.03 at width 256, scaled by 1/sqrt(width). `freeze`: patterns of the names of parameters that are not trained
    ('embedding.*').
    """

    weight_decay: Amount = 0.1
    l1: Amount = 0.0
    l2: Amount = 0.0
    noise: Amount = 0.0
    noise_decay: Amount = 0.55
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    table_lr: Rate | None = None
    freeze: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _noisy(self) -> Optimizer:
        if not self.noise and self.noise_decay != 0.55:
            raise ValueError(str(text("'noise', as without it 'noise_decay' has no effect")))
        return self

    def make(self, model: nn.Module) -> Live:
        """The optimizer of the model's parameters; frozen ones are marked as such in the model."""
        freeze(model, self.freeze)
        full = self.filled(width_of(model))
        made = []
        for group in groups_of(model, self.layer_decay):
            penalised = group.name != UNDECAYED
            tables = group.name == rows.NAME
            rate = full.table_lr if tables else full.peak(group.name)
            assert rate is not None
            peak = rate * group.share
            made.append({
                "name": group.name, "params": group.params, "lr": peak, "peak": peak,
                "weight_decay": self.weight_decay if penalised else 0.0, "l1": self.l1 if penalised else 0.0,
                "l2": self.l2 if penalised else 0.0, **full.own(group.name),
                **(rows.own() if tables else {}),
            })  # fmt: skip
        live = full.live(made, model)
        live.noise = (self.noise, self.noise_decay)
        return live

    def filled(self, width: int, size: float | None = None) -> Self:
        """The same settings with what the recipe leaves open, for a model of this width trained on `size` tokens (or labelled
        texts) of data, each counted once."""
        return self.model_copy(update={"table_lr": self.table_lr or narrowed(TABLE_RATE, width)})

    def peak(self, group: str) -> float:
        """The highest learning rate of a group; the settings are filled."""
        raise NotImplementedError

    def own(self, group: str) -> dict[str, Any]:
        """What else the rule wants to know of a group."""
        return {}

    def live(self, groups: list[dict[str, Any]], model: nn.Module) -> Live:
        raise NotImplementedError


class OneRate(Optimizer):
    """An optimizer whose groups all learn at one rate. `lr` None: `base` at width 256, scaled by 1/sqrt(width), as wider models
    take smaller steps."""

    lr: Rate | None = None

    base: ClassVar[float]

    def filled(self, width: int, size: float | None = None) -> Self:
        return super().filled(width, size).model_copy(update={"lr": self.lr or narrowed(self.base, width)})

    def peak(self, group: str) -> float:
        assert self.lr is not None
        return self.lr


def narrowed(rate: float, width: int) -> float:
    """A rate that was tuned at WIDTH, for another one: wider models take smaller steps."""
    return round(rate * math.sqrt(WIDTH / width), 8)


class Live(torch.optim.Optimizer):
    """A torch optimizer at work, and what the loop asks of it beside torch's own interface. A rule of torch's comes in as a
    second base class; one of ours is written as `move`."""

    noise: tuple[float, float] = (0.0, 0.55)  # of the gradient: variance at the first step, and how fast it falls
    clock: tuple[int, int] = (0, 0)  # (seed, steps finished): whatever is drawn in a step follows from it

    def begin(self, factor: float, seed: int, step: int) -> None:
        """A step begins, after `step` finished ones: every group's rate is `factor` of its own peak."""
        for group in self.param_groups:
            group["lr"] = group["peak"] * factor
        self.clock = (seed, step)

    @contextmanager
    def sampled(self) -> Iterator[None]:
        """The weights at which this step's gradient is taken: the parameters as they are, or a sample of their posterior."""
        yield

    def posterior(self, model: nn.Module) -> dict[str, Tensor] | None:
        """The standard deviation of every parameter by name, where the optimizer learns one."""
        return None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None, "the loop makes the gradient itself"
        self.disturb()
        for group in self.param_groups:
            if group.get("name") == rows.NAME:
                rows.move(group, self.state)
        self.move()

    def move(self) -> None:
        """The rule: from gradients to other parameters."""
        rule: Any = super().step
        if getattr(rule, "hooked", False):  # torch wraps a class's step when one of it is made; this step is wrapped already,
            rule.__wrapped__(self)  # and hooks are called once
        else:
            rule()

    def disturb(self) -> None:
        """Penalties and noise, added to the gradients in place."""
        scale, fall = self.noise
        draw = self.generator("noise") if scale else None
        deviation = math.sqrt(scale / (1 + self.clock[1]) ** fall)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            gradients = rows.held(params)
            if group["l2"] and params:
                torch._foreach_add_(gradients, params, alpha=group["l2"])
            if group["l1"] and params:
                torch._foreach_add_(gradients, torch._foreach_sign(params), alpha=group["l1"])
            if draw is not None:
                for gradient in gradients:
                    gradient.add_(normal(gradient, draw), alpha=deviation)

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers of this step alone, the same on every rank, and apart from those of dropout."""
        seed = int.from_bytes(sha256("/".join(map(str, (*self.clock, purpose))).encode()).digest()[:8], "big") >> 1
        device = next(p.device for group in self.param_groups for p in group["params"])
        return torch.Generator(device).manual_seed(seed)


def normal(like: Tensor, draw: torch.Generator) -> Tensor:
    """Standard normal noise of a tensor's shape; of a sharded one, each process its part of what one process would draw."""
    drawn = torch.randn(like.shape, generator=draw, device=like.device, dtype=like.dtype)
    if not hasattr(like, "placements"):
        return drawn
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = like
    return distribute_tensor(drawn, sharded.device_mesh, sharded.placements, src_data_rank=None)


def implementation(model: nn.Module) -> dict[str, Any]:
    """The fused kernel where every parameter allows it (one pass over memory instead of about ten)."""
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in model.parameters())
    return {"fused": True} if fused else {"foreach": True}
