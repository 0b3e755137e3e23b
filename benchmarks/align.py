"""How fast models are aligned: a step of DPO and a step of GRPO, ours and TRL's, on one model and the same data.

    python -m benchmarks.align [--json] [--rounds 7] [--steps 2] [--cases dpo grpo] [--model FOLDER] [--peers .bench/bin/python]

A Llama of 6 layers, width 384, vocabulary 4096 (or the Hugging Face folder that `--model` names), float32, AdamW with
clipping. DPO: 8 pairs a step, answers of 16 to 96 tokens behind prompts of 48, the reference's likelihoods computed beforehand
on both sides. GRPO: 4 prompts a step, 8 answers each of at most 48 tokens, rewarded by their length, β = 0.04: writing, the
reference's pass, and the step. Every contestant is a process that stays alive and trains bursts of steps in an order that
changes; ratios are taken within a round, and the median of the rounds is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.train import Contestant

HERE = Path(__file__).parent
CASES = ("dpo", "grpo")
SCRIPT = "align_contestant.py"


def measure(case: str, folder: Path, rounds: int, steps: int, threads: int, peers: str, names: list[str]) -> dict[str, Any]:
    started = [Contestant(name, case, sys.executable if name == "yanmo" else peers, threads, SCRIPT, (str(folder),), 1.0)
               for name in names]  # fmt: skip
    order = random.Random(0)
    try:
        for _ in range(rounds):
            for contestant in order.sample(started, len(started)):
                contestant.burst(steps)
    finally:
        for contestant in started:
            contestant.close()
    found = {contestant.name: contestant for contestant in started}
    ours, peer = found.get("yanmo"), found.get("trl")
    first = ours or peer
    assert first is not None
    line: dict[str, Any] = {"benchmark": "align", "case": f"{case} step", "kind": "peer" if ours and peer else "info",
                            "ours": ours and round(median(ours.rates), 4), "peer": peer and "trl",
                            "peer_value": peer and round(median(peer.rates), 4), "ratio": None, "unit": "steps/s",
                            "parameters": first.ready["parameters"]}  # fmt: skip
    if ours and peer:
        line["ratio"] = round(median(a / b for a, b in zip(ours.rates, peer.rates)), 3)
        line["first_losses"] = [ours.ready["losses"][0], peer.ready["losses"][0]]  # the same data: a check of both
    return line


def main() -> None:
    from benchmarks.align_contestant import make

    parser = argparse.ArgumentParser(prog="python -m benchmarks.align", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="steps in a burst")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--model", help="a Hugging Face folder to align instead of a fresh model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", default=str(HERE.parent / ".bench/bin/python"), help="the peers' Python (make bench-env)")
    parser.add_argument("--only", nargs="*", default=["yanmo", "trl"])
    given = parser.parse_args()
    if "trl" in given.only and not Path(given.peers).exists():
        parser.error(f"{given.peers}: no such environment; run 'make bench-env' first")
    with tempfile.TemporaryDirectory(prefix="yanmo-") as scratch:
        folder = Path(scratch)
        make(folder, given.model)
        for case in given.cases:
            found = measure(case, folder, given.rounds, given.steps, given.threads, given.peers, given.only)
            if given.json:
                print(json.dumps(found))
            else:
                ratio = "" if found["ratio"] is None else f"  {found['ratio']:.3f} of {found['peer']} ({found['peer_value']:.3f})"
                print(f"{found['case']:<20} {found['ours'] or found['peer_value']:>10.3f} {found['unit']}{ratio}")


if __name__ == "__main__":
    main()
