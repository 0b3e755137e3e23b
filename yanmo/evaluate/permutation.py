"""Is the difference of two models on the same items more than chance? The paired permutation test (Fisher 1935; Noreen 1989).

If the two were equally good, it would not matter which of them gave which of an item's two answers. So the answers are swapped
item by item by the toss of a coin, many times over, and p is the share of the swaps whose difference is at least as large as the
real one, which is counted as one of them. Of few items every swap is tried, and p is exact.
"""

from __future__ import annotations

import math

import numpy as np

from yanmo.evaluate.measure import DRAWS, Figure

SWAPS = 10_000
CELLS = 1 << 21  # swapped items that are held at one time
CLOSE = 1e-9  # differences that are the same but for rounding


def p_value(both: Figure, seed: int = 0) -> float | None:
    """The two-sided p that one model is as good as another. `both`: the metric's figure of the answers of the one and, behind
    them, of the other to the same items (2 N rows), so that whatever columns encode (labels, ranks) is encoded alike; None where
    the metric of either does not exist."""
    assert both.n % 2 == 0, f"{both.n} answers to two sets of the same items"
    n = both.n // 2
    columns = [(column[:n], column[n:]) for column in both.columns]
    real = abs(float((both.of(range(n)).value) - both.of(range(n, 2 * n)).value))
    if not math.isfinite(real):
        return None
    exact = 2**n <= SWAPS
    swaps = 2**n if exact else max(min(SWAPS, DRAWS // (4 * n * both.weight)), 1000)
    rng = np.random.Generator(np.random.PCG64(seed))
    step, beyond = max(1, CELLS // n), 0
    for start in range(0, swaps, step):
        count = min(step, swaps - start)
        if exact:
            swapped = (np.arange(start, start + count)[:, None] >> np.arange(n)) & 1 == 1
        else:
            swapped = rng.integers(0, 2, (count, n), dtype=np.uint8) == 1
        one, other = [], []
        for mine, yours in columns:
            mask = swapped.reshape(*swapped.shape, *([1] * (mine.ndim - 1)))
            one.append(np.where(mask, yours[None], mine[None]))
            other.append(np.where(mask, mine[None], yours[None]))
        gap = np.abs(both.over(*one) - both.over(*other))
        beyond += int((np.isnan(gap) | (gap >= real - CLOSE)).sum())  # a swap without a figure speaks for chance
    return beyond / swaps if exact else (beyond + 1) / (swaps + 1)
