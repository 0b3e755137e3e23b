"""How fast a step trains: ours, LitGPT, Hugging Face's Llama and its Trainer, nanoGPT and nanochat at the same number of
operations, and the machine's own matrix rate.

    python -m benchmarks.train [--json] [--rounds 5] [--steps 2] [--peers .bench/bin/python] [--clones FOLDER]

6 layers, width 384, 6 heads, vocabulary 8192, context 256, batch 16, float32, random tokens, AdamW with clipping. nanoGPT
(measured at 3adf61e) and nanochat (92d63d4) are no packages: FOLDER holds clones of both, without it they are left out, which
is said. Every contestant is a process that stays alive; in each round each trains a burst of steps, one after another,
in an order that changes. Ratios are taken within a round and the median of the rounds is reported, so that a machine
that slows down for a while slows everyone. The limit is the step's matrix products alone, in the same shapes (attention's
over all pairs of positions): the share says how much of a step is spent in what cannot be saved.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contestant import CONTESTANTS, FLOPS, TOKENS

HERE = Path(__file__).parent
MODES = ("eager", "compiled")
CLONED = {"nanogpt": "nanoGPT", "nanochat": "nanochat"}
A_TOKEN = FLOPS / TOKENS / 1e9  # billions of floating-point operations


class Contestant:
    """`script`: the file that it runs, with `given` behind its name, mode and threads; `amount`: what a step is counted as."""

    def __init__(self, name: str, mode: str, python: str, threads: int, script: str = "contestant.py",
                 given: tuple[str, ...] = (), amount: float = TOKENS):  # fmt: skip
        self.name, self.mode, self.amount = name, mode, amount
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1",
                       "TOKENIZERS_PARALLELISM": "false"}  # fmt: skip
        self.process = subprocess.Popen([python, str(HERE / script), name, mode, str(threads), *given], env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.ready = self._answer()
        self.rates: list[float] = []  # tokens (or steps) a second, one for each round

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"benchmarks.train: {self.name} ({self.mode}) failed; see above")

    def burst(self, steps: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        self.rates.append(steps * self.amount / self._answer()["seconds"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(rounds: int, steps: int, threads: int, peers: str, names: list[str]) -> list[dict[str, Any]]:
    started = [Contestant(name, mode, sys.executable if name in ("yanmo", "matrices") else peers, threads)
               for name in names for mode in (MODES if name != "matrices" else MODES[:1])]  # fmt: skip
    order = random.Random(0)
    try:
        for _ in range(rounds):
            for contestant in order.sample(started, len(started)):
                contestant.burst(steps)
    finally:
        for contestant in started:
            contestant.close()
    return lines(started)


def lines(contestants: list[Contestant]) -> list[dict[str, Any]]:
    best: dict[str, Contestant] = {}
    found = []
    for contestant in contestants:
        rate = median(contestant.rates)
        if contestant.name not in best or rate > median(best[contestant.name].rates):
            best[contestant.name] = contestant
        about = {"ready_seconds": round(contestant.ready["seconds"], 1), "parameters": contestant.ready["parameters"]}
        found.append(line(f"{contestant.name} {contestant.mode}", "info", rate, None, None, None, "tokens/s") | about)
    ours = best.get("yanmo")
    if ours is None:
        return found
    for name, peer in best.items():
        ratios = [a / b for a, b in zip(ours.rates, peer.rates)]
        if name == "matrices":
            found.append(line(f"{ours.mode}, share of the matrix rate", "limit", median(ours.rates) * A_TOKEN, name,
                              median(peer.rates) * A_TOKEN, median(ratios), "GFLOP/s"))  # fmt: skip
        elif name != "yanmo":
            found.append(line(f"{ours.mode} against {peer.mode}", "peer", median(ours.rates), name, median(peer.rates),
                              median(ratios), "tokens/s"))  # fmt: skip
    return found


def line(case: str, kind: str, ours: float, peer: str | None, value: float | None, ratio: float | None,
         unit: str) -> dict[str, Any]:  # fmt: skip
    return {"benchmark": "train", "case": case, "kind": kind, "ours": round(ours, 1), "peer": peer,
            "peer_value": None if value is None else round(value, 1), "ratio": None if ratio is None else round(ratio, 3),
            "unit": unit}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps in a burst")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", default=str(HERE.parent / ".bench/bin/python"), help="the peers' Python (make bench-env)")
    parser.add_argument("--clones", help="a folder with clones of nanoGPT and nanochat")
    parser.add_argument("--only", nargs="*", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    given = parser.parse_args()
    if not Path(given.peers).exists() and set(given.only) - {"yanmo", "matrices"}:
        parser.error(f"{given.peers}: no such environment; run 'make bench-env' first")
    os.environ["CLONES"] = given.clones or ""
    missing = [name for name, folder in CLONED.items() if not Path(given.clones or "/dev/null", folder).is_dir()]
    names = [name for name in given.only if name not in missing]
    if len(names) < len(given.only):
        print(f"left out, as --clones has no clone: {', '.join(n for n in given.only if n in missing)}", file=sys.stderr)
    for entry in measure(given.rounds, given.steps, given.threads, given.peers, names):
        if given.json:
            print(json.dumps(entry))
        else:
            ratio = "" if entry["ratio"] is None else f"  {entry['ratio']:.3f} of {entry['peer']} ({entry['peer_value']:,.0f})"
            print(f"{entry['case']:<40} {entry['ours']:>10,.0f} {entry['unit']}{ratio}")


if __name__ == "__main__":
    main()
