"""How fast a training step is on this machine now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from yanmo.objectives.base import Batch, Objective
from yanmo.train.job import Batches, Job
from yanmo.train.machine.precision import autocast
from yanmo.train.optimizers.base import Live
from yanmo.train.randomness import own_random_numbers, seeded
from yanmo.train.schedule import Constant
from yanmo.train.step import forward_backward, forward_of

LOOKED = 16  # steps whose sizes are looked at


@dataclass(frozen=True)
class Speed:
    """Seconds of one micro-batch forward and backward, and of one optimizer step."""

    micro: float
    step: float

    def seconds(self, steps: float, micros: int) -> float:
        return steps * (micros * self.micro + self.step)


def measure(model: nn.Module, objective: Objective, optimizer: Live, batches: Batches, device: torch.device,
            precision: str, compiled: bool) -> Speed:  # fmt: skip
    """The speed of real steps on this machine now: of a few, the fastest for its size, as whatever else disturbs only slows down;
    and of a step of the usual size."""
    with own_random_numbers():
        job = Job(model, objective, batches, optimizer, Constant(), 1, Path(), 0, device, precision, compiled)
        forward = forward_of(job)
        model.train()
        micro, steps, cursor = [], [], (0, 0)
        for index in range(4):
            rng = seeded(0, index)
            batch, cursor = batches.take(cursor, rng)
            begun = _now(device)
            forward_backward(job, forward, batch, rng)
            middle = _now(device)
            with autocast(precision, device):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ended = _now(device)
            if index > (1 if compiled else 0):  # the first one compiles, warms caches, allocates
                micro.append((middle - begun) / sum(map(positions, batch)))
                steps.append(ended - middle)
            if index > 1 and ended - begun > 2.0:
                break  # slow enough to be measured well
    return Speed(min(micro) * usual(batches), min(steps))


def usual(batches: Batches) -> float:
    """The mean positions of a step, by the first few: the very first has the longest rows, so that what does not fit shows at
    once, and is no measure of the others."""
    total, cursor = 0, (0, 0)
    with own_random_numbers():
        for index in range(LOOKED):
            step, cursor = batches.take(cursor, seeded(0, index))
            total += sum(map(positions, step))
    return total / LOOKED


def positions(batch: Batch) -> int:
    """Padding included; of an encoder-decoder, both sides'."""
    source = batch.inputs.source
    return batch.inputs.tokens.numel() + (0 if source is None else source.tokens.numel())


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()
