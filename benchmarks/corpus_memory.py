"""How much memory the corpus stage takes as its input grows: 1x, 4x, 16x. `python -m benchmarks.corpus_memory [--json]`

Each size runs in a process of its own over made-up documents in English and Chinese, a tenth of them exact and a tenth near
duplicates, through every kind of step. `ours` is the peak resident memory (MiB) of its largest process; the limit is what
1x takes. A ratio of 1 means that memory did not grow.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = ["normalize", {"type": "length", "min_chars": 20}, "exact_dedup", "minhash_dedup"]
HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"


def write(path: Path, size: int, seed: int) -> int:
    """About `size` bytes of JSON lines; the number of documents."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20_000)]
    recent: list[str] = []
    count = written = 0
    with open(path, "w", encoding="utf-8") as handle:
        while written < size:
            draw = rng.random()
            if recent and draw < 0.1:
                body = rng.choice(recent)
            elif recent and draw < 0.2:
                body = rng.choice(recent) + " and a tail"
            elif draw < 0.6:
                body = " ".join(rng.choices(words, k=rng.randint(50, 600)))
            else:
                body = "".join(rng.choices(HAN, k=rng.randint(50, 900)))
            recent = [*recent[-200:], body]
            line = json.dumps({"text": body, "n": count}, ensure_ascii=False) + "\n"
            handle.write(line)
            written += len(line.encode())
            count += 1
    return count


def measure(path: Path, run: Path, workers: int) -> None:
    """Runs the stage in this process and prints its peak and its workers'."""
    import resource
    import time

    from yanmo.core.config import Place
    from yanmo.core.console import Console
    from yanmo.core.execute import execute
    from yanmo.core.recipe import parse

    stage = {"source": {"type": "jsonl", "path": str(path)}, "steps": STEPS, "engine": {"type": "local", "workers": workers}}
    started = time.monotonic()
    execute(parse({"name": "x", "stages": [{"corpus": stage}]}, Place()), run, console=Console(quiet=True))
    own, other = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    stats = json.loads((run / "corpus" / "stats.json").read_text())
    print(json.dumps({"own": own, "worker": other, "seconds": time.monotonic() - started, "in": stats["in"]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--unit", type=float, default=8, help="megabytes of input at 1x")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(Path(arguments.measure[0]), Path(arguments.measure[1]), int(arguments.measure[2]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for size in arguments.sizes:
            write(folder / f"{size}.jsonl", int(size * arguments.unit * 1e6), seed=size)
        for workers in arguments.workers:
            first: dict[str, float] = {}
            for size in arguments.sizes:
                command = [sys.executable, "-m", "benchmarks.corpus_memory", "--measure", str(folder / f"{size}.jsonl"),
                           str(folder / f"run-{workers}-{size}"), str(workers)]  # fmt: skip
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                found = json.loads(done.stdout)
                found["peak"] = max(found["own"], found["worker"])
                first = first or found
                case = f"{size}x of {arguments.unit:g} MB, {workers} worker{'s' * (workers > 1)}"
                ours, limit = round(found["peak"], 1), round(first["peak"], 1)
                row = {"benchmark": "corpus_memory", "case": case, "kind": "limit", "ours": ours, "peer": "1x",
                       "peer_value": limit, "ratio": round(limit / ours, 3), "unit": "MiB"}  # fmt: skip
                if arguments.json:
                    print(json.dumps(row), flush=True)
                else:
                    rate = size * arguments.unit / found["seconds"]
                    print(f"{case}: {ours} MiB peak (1x: {limit}), {found['in']} documents, {rate:.2f} MB/s", flush=True)


if __name__ == "__main__":
    main()
