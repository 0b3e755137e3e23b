"""Random numbers: those of a step follow from (seed, step) alone, so that a run that goes on draws what it would have drawn.

There are two: `generator`, the objective's own, which may be used ahead of time in another thread, and torch's global ones
(dropout, sampled parameters), which `seeded` resets when the step begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def generator(seed: int, step: int) -> torch.Generator:
    """What the objective of one step draws from."""
    return torch.Generator().manual_seed((seed * 1_000_033 + step) % 2**63)


def seeded(seed: int, step: int) -> torch.Generator:
    """Random numbers of one step: torch's own (dropout) reset, and a generator for the objective."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)
    return generator(seed, step)


class Moment:
    """All random numbers as they are now, to be put back when the same work is done again."""

    def __init__(self, rng: torch.Generator):
        self.rng, self.own, self.cpu = rng, rng.get_state(), torch.random.get_rng_state()
        self.gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def again(self) -> None:
        self.rng.set_state(self.own)
        torch.random.set_rng_state(self.cpu)
        if self.gpu:
            torch.cuda.set_rng_state_all(self.gpu)


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Whatever is drawn within, torch's own generators are afterwards what they were."""
    before = Moment(torch.Generator())
    try:
        yield
    finally:
        before.again()
