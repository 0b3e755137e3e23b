"""Attention and dropout as they are learned through on this CPU: ours beside torch's one call, forward and backward.

    python -m benchmarks.short_rows [--json] [--positions 4096] [--rounds 5]

'step by step' is products, softmax, products; `yanmo.nn.attention` takes it up to SHORT positions in 32 bits, SHORT_HALF in 16
('ours' says which). Ratios are torch's time over ours, the median of rounds that take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from yanmo.nn import attention
from yanmo.nn.dropout import dropout

SHAPES = ((4, 64), (12, 32))  # heads, their size
LENGTHS = (8, 16, 32, 64, 128, 256, 512)


def timed(ways: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Seconds of each, the median of rounds."""
    found: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds + 1):
        for times, way in zip(found, ways):
            begun = time.perf_counter()
            for _ in range(3):
                way()
            times.append((time.perf_counter() - begun) / 3)
    return [statistics.median(times[1:]) for times in found]


def attended(dtype: torch.dtype, rows: int, length: int, heads: int, size: int, rounds: int) -> tuple[float, float]:
    """Seconds in one call and step by step, with a mask of the last position."""
    q, k, v = (torch.randn(rows, length, heads, size, dtype=dtype, requires_grad=True) for _ in range(3))
    seen = torch.ones(rows, length, dtype=torch.bool)
    seen[:, length - 1 :] = length == 1
    back = torch.randn_like(q)
    rule = attention._step_by_step

    def run(steps: bool) -> tuple[Tensor, ...]:
        attention._step_by_step = lambda q, k: steps  # type: ignore[assignment]
        out = attention.attend(q, k, v, layer=None, slots=None, causal=False, mask=seen, documents=None)
        return torch.autograd.grad(out, (q, k, v), back)

    try:
        one, steps = timed([lambda: run(False), lambda: run(True)], rounds)
    finally:
        attention._step_by_step = rule
    return one, steps


def dropped(dtype: torch.dtype, positions: int, width: int, rounds: int) -> tuple[float, float]:
    x = torch.randn(positions, width, dtype=dtype, requires_grad=True)
    back = torch.randn_like(x)
    ways: list[Callable[[], Any]] = [lambda: torch.autograd.grad(F.dropout(x, 0.1, True), x, back),
                                     lambda: torch.autograd.grad(dropout(x, 0.1, training=True), x, back)]  # fmt: skip
    one, ours = timed(ways, rounds)
    return one, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--positions", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    for dtype, short in ((torch.float32, attention.SHORT), (torch.bfloat16, attention.SHORT_HALF)):
        form = str(dtype).removeprefix("torch.")
        for heads, size in SHAPES:
            for length in LENGTHS:
                for rows in (max(1, args.positions // length), 1):
                    one, steps = attended(dtype, rows, length, heads, size, args.rounds)
                    ours = "step by step" if length <= short else "one call"
                    found.append({"what": f"attention {heads} x {size}", "form": form, "rows": rows, "length": length,
                                  "torch": one, "other": steps, "ours": ours})  # fmt: skip
        one, bits = dropped(dtype, args.positions, 256, args.rounds)
        found.append({"what": "dropout, width 256", "form": form, "rows": 1, "length": args.positions, "torch": one,
                      "other": bits, "ours": "sixteen bits"})  # fmt: skip
    if args.json:
        print(json.dumps(found))
        return
    print(f"{'what':<20} {'form':<9} {'rows':>5} {'length':>6} {'torch, ms':>10} {'other, ms':>10} {'ratio':>6}  ours")
    for row in found:
        print(f"{row['what']:<20} {row['form']:<9} {row['rows']:>5} {row['length']:>6} {1e3 * row['torch']:>10.2f} "
              f"{1e3 * row['other']:>10.2f} {row['torch'] / row['other']:>6.2f}  {row['ours']}")  # fmt: skip


if __name__ == "__main__":
    main()
