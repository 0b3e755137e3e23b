"""Random numbers: those of a step follow from (seed, step) alone, so that a run that goes on draws what it would have drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seeded(seed: int, step: int) -> torch.Generator:
    """Random numbers of one step: torch's own (dropout) reset, and a generator for the objective."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)
    return torch.Generator().manual_seed((seed * 1_000_033 + step) % 2**63)


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Whatever is drawn within, torch's own generator is afterwards what it was."""
    before = torch.random.get_rng_state()
    try:
        yield
    finally:
        torch.random.set_rng_state(before)
