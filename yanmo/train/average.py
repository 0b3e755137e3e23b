"""Weights averaged along the run: what is validated and kept instead of the last ones.

    train: {average: {type: ema, decay: 0.999}}          train: {average: {type: last, count: 5}}

Training itself goes on with its own weights; the average looks on (`follow`), is put in their place to be validated
(`shown`), and is what the model has at the end (`put`). What it remembers lies beside each parameter in the optimizer's state,
so that whatever holds that (checkpoints, slices on several ranks, a plan of the memory) holds the average too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pydantic import Field
from torch import Tensor

from yanmo.core.config import Part

Weights = dict[Tensor, Tensor]  # parameter → what stands for it


class Average(Part):
    """An average's settings; `make` gives the live one."""

    @property
    def copies(self) -> int:
        """Of the weights, that it holds."""
        return 1

    def make(self, every: int) -> Averaging:
        """For a run that is validated every so many steps."""
        raise NotImplementedError


class Ema(Average):
    """Exponential moving average of the weights, step by step (Polyak and Juditsky 1992; Morales-Brotons et al. 2024).

    `decay`: what stays of the average at each step; in the first steps less does, (1 + step) / (10 + step) at most, so that the
    untrained weights are soon forgotten."""

    decay: float = Field(default=0.999, gt=0, lt=1)

    def make(self, every: int) -> Averaging:
        return Moving(self.decay)


class Last(Average):
    """The mean of the weights at the last `count` validations (checkpoint averaging, Vaswani et al. 2017, section 6.1).

    `every`: steps between them, where it should be others than the validations. Holds `count` copies of the weights."""

    count: int = Field(default=5, ge=2)
    every: int | None = Field(default=None, gt=0)

    @property
    def copies(self) -> int:
        return self.count

    def make(self, every: int) -> Averaging:
        return Recent(self.count, self.every or every)


class Averaging:
    """The live average; this one is none: the weights themselves."""

    def follow(self, optimizer: torch.optim.Optimizer, step: int, end: bool = False) -> None:
        """After each step; `step` counts the finished ones, `end`: it is the run's last."""

    def mean(self, optimizer: torch.optim.Optimizer) -> Weights:
        """The averaged weights; empty where there is nothing to put in the parameters' place."""
        return {}

    @torch.no_grad()
    def put(self, optimizer: torch.optim.Optimizer) -> None:
        """Gives the parameters the averaged weights."""
        for parameter, value in self.mean(optimizer).items():
            parameter.copy_(value)

    @contextmanager
    def shown(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """The parameters have the averaged weights within, and their own again behind."""
        own = [(parameter, parameter.detach().clone()) for parameter in self.mean(optimizer)]
        self.put(optimizer)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in own:
                    parameter.copy_(value)


class Moving(Averaging):
    def __init__(self, decay: float):
        self.decay = decay

    @torch.no_grad()
    def follow(self, optimizer: torch.optim.Optimizer, step: int, end: bool = False) -> None:
        kept = min(self.decay, (1 + step) / (10 + step))
        means, weights = [], []
        for parameter, state in moved(optimizer):
            if "average" in state:
                means.append(state["average"])
                weights.append(parameter.detach())
            else:
                state["average"] = parameter.detach().clone()
        if means:
            torch._foreach_lerp_(means, weights, 1 - kept)

    def mean(self, optimizer: torch.optim.Optimizer) -> Weights:
        return {parameter: state["average"] for parameter, state in optimizer.state.items() if "average" in state}


class Recent(Averaging):
    def __init__(self, count: int, every: int):
        self.count, self.every = count, every
        self._names = [f"kept{index}" for index in range(count)]  # the oldest first

    def follow(self, optimizer: torch.optim.Optimizer, step: int, end: bool = False) -> None:
        if not end and step % self.every:
            return
        for parameter, state in moved(optimizer):
            kept = [state[name] for name in self._names if name in state][-self.count + 1 :]
            state |= zip(self._names, [*kept, parameter.detach().clone()])

    def mean(self, optimizer: torch.optim.Optimizer) -> Weights:
        found = {}
        for parameter, state in optimizer.state.items():
            kept = [state[name] for name in self._names if name in state]
            if kept:
                found[parameter] = torch.stack(kept).mean(0)
        return found


def moved(optimizer: torch.optim.Optimizer) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The parameters that have moved, each with its state. One of which an optimizer remembers nothing, while it does of
    others, has had no gradient yet; torch's optimizers take a state that is not empty for one of their own."""
    remembers = any(name != "average" and not name.startswith("kept") for state in optimizer.state.values() for name in state)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if state or not remembers:
                yield parameter, state
