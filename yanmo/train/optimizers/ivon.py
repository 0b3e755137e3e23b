"""Variational adaptive gradient descent: the weights are a normal distribution, whose mean and deviations are learned.

The "VADG" of our source texts, in the form that works at scale: IVON, the improved variational online Newton method (Shen et
al. 2024, arXiv:2402.17641, algorithm 1). A step draws the weights from the posterior, takes the gradient there, and from the
gradient and the noise estimates the curvature (Price's theorem), which is both the preconditioner of the mean's step and,
with the prior's precision, the posterior's.

`ivon-opt`, the authors' package, gives the same numbers (a test holds us to it) but keeps its memory in two flat vectors of its
own and puts new storage under every parameter twice a step. Here it lies with each parameter, so that checkpoints, frozen
parameters and sharding need nothing special, gradients may be clipped, and an exact resume follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from yanmo.train.optimizers import rows
from yanmo.train.optimizers.base import Amount, Live, OneRate, Share, normal

OBSERVATIONS = 1e6  # where nobody says how much data there is


class Ivon(OneRate):
    """Variational adaptive gradient descent (IVON, Shen et al. 2024): learns how sure it is of every weight.

    `weight_decay` is the precision of the prior, relative to the data's. `ess`: how many observations the data counts for; None:
    the tokens (or labelled texts) of the training data. `hessian`: the first guess of the curvature; smaller means wider
    draws. `radius`: the largest step of a weight before the learning rate. The model directory gets the deviations
    (`posterior.safetensors`), from which `yanmo predict --samples N` draws. `lr` None: 0.5 at width 256."""

    betas: tuple[Share, Share] = (0.9, 0.9995)
    weight_decay: Amount = 1e-4
    ess: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    hessian: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    radius: float | None = Field(default=None, gt=0)

    base: ClassVar[float] = 0.5

    def filled(self, width: int, size: float | None = None) -> Ivon:
        return super().filled(width).model_copy(update={"ess": self.ess or size})

    def own(self, group: str) -> dict[str, Any]:
        return {"betas": self.betas, "ess": float(self.ess or OBSERVATIONS), "hessian": self.hessian, "radius": self.radius}

    def live(self, groups: list[dict[str, Any]], model: nn.Module) -> Live:
        return LiveIvon(groups, {})


class LiveIvon(Live):
    """state: `momentum` and `hessian` like the parameter, `step` a scalar."""

    def __init__(self, groups: list[dict[str, Any]], defaults: dict[str, Any]):
        super().__init__(groups, defaults)
        self._drawn: dict[Tensor, Tensor] = {}  # the noise at which the gradients were taken

    @contextmanager
    def sampled(self) -> Iterator[None]:
        draw = self.generator("weights")
        means = []
        with torch.no_grad():
            for group in self._uncertain():
                for p in group["params"]:
                    self._drawn[p] = normal(p, draw) / self._precision(p, group).sqrt()
                    means.append((p, p.clone()))
                    p.add_(self._drawn[p])
        try:
            yield
        finally:
            with torch.no_grad():
                for p, mean in means:
                    p.copy_(mean)

    def _uncertain(self) -> list[dict[str, Any]]:
        """The groups that have a posterior: all but tables, most of whose rows no step has touched."""
        return [group for group in self.param_groups if group.get("name") != rows.NAME]

    def _precision(self, p: Tensor, group: dict[str, Any]) -> Tensor:
        return group["ess"] * (self._remembered(p, group)["hessian"] + group["weight_decay"])

    def _remembered(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        state = self.state[p]
        if "momentum" not in state:
            state |= {"momentum": torch.zeros_like(p), "hessian": torch.full_like(p, group["hessian"]),
                      "step": torch.zeros((), dtype=torch.float32)}  # fmt: skip
        return state

    def move(self) -> None:
        for group in self._uncertain():
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, p.grad, group)
        self._drawn.clear()

    def _move(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self._remembered(p, group), group["betas"]
        decay, radius = group["weight_decay"], group["radius"]
        assert p in self._drawn, "a step whose gradient was not taken within sampled()"
        before = state["hessian"]
        found = self._drawn[p] * gradient * (before + decay) * group["ess"]  # of the loss's curvature, by Price's theorem
        state["step"] += 1
        state["momentum"] = momentum = first * state["momentum"] + (1 - first) * gradient
        # the last term keeps the curvature positive whatever was found: the metric's own (equation 7)
        state["hessian"] = after = (
            second * before + (1 - second) * found + (0.5 * (1 - second) ** 2) * (before - found).square() / (before + decay)
        )
        wanted = (momentum / (1 - first ** float(state["step"])) + decay * p) / (after + decay)
        if radius is not None:
            wanted.clamp_(-radius, radius)
        p.sub_(group["lr"] * (group["hessian"] + decay) * wanted)

    @torch.no_grad()
    def posterior(self, model: nn.Module) -> dict[str, Tensor]:
        """Of a model in slices every process has to ask."""
        names = {parameter: name for name, parameter in model.named_parameters()}
        found: dict[str, Any] = {
            names[p]: self._precision(p, group).rsqrt() for group in self._uncertain() for p in group["params"]
        }
        return {name: value.full_tensor() if hasattr(value, "full_tensor") else value for name, value in found.items()}
