"""What three minutes buy: bits per byte on held-out documents after so many seconds of wall clock, the tokenizer's training
included: ours, nanochat and nanoGPT.

    python -m benchmarks.quality [--json] [--language en|zh|zh-prose] [--seconds 180] [--only yanmo nanochat …] [--clones FOLDER]
                                 [--package FILE.deb] [--peers .bench/bin/python]

Text: quality_text.py. Ours is the command line with a recipe that leaves everything open but the budget: corpus, tokenizer,
pretrain, mix. nanochat: its model and its Muon, depth 2, width 128, context 128, BPE of 2,048 pieces; nanoGPT: the settings
that its README gives for CPUs, over characters. Both (quality_contestant.py) train until the clock says stop, on all cores, one
after another. All are asked for the same documents, whole, in windows that move on by half the context; that takes no time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import quality_text

HERE = Path(__file__).parent
PEERS = ("nanochat", "nanogpt")
RECIPE = """name: quality
budget: {{minutes: {minutes}}}
stages:
  - corpus: {{source: {{type: jsonl, path: train.jsonl}}, validation: 0.02}}
  - tokenizer: {{}}
  - pretrain: {{}}
  - mix: {{}}
"""


def yanmo(folder: Path, seconds: float) -> dict[str, Any]:
    """`yanmo run`, from the command to its end, then `yanmo evaluate`."""
    (folder / "recipe.yaml").write_text(RECIPE.format(minutes=seconds / 60), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}

    def verb(*words: str) -> str:
        return subprocess.run([sys.executable, "-m", "yanmo", *words], cwd=folder, env=environment, check=True,
                              stdout=subprocess.PIPE, text=True).stdout  # fmt: skip

    began = time.monotonic()
    verb("run", "recipe.yaml", "--run-dir", "run")
    took = time.monotonic() - began
    figures = {}
    for stage in ("pretrain", "mix"):
        told = verb("evaluate", f"run/{stage}", "--task", "language_modeling", "--data", "test.jsonl", "--json")
        figures[stage] = next(row["value"] for row in json.loads(told)["results"]
                              if row["metric"] == "bits_per_byte" and row["model"] == stage and not row.get("group"))  # fmt: skip
    plan = json.loads((folder / "run/pretrain/plan.json").read_text(encoding="utf-8"))
    chosen = {name: plan.get(name) for name in ("model", "context", "steps", "batch_tokens", "precision")}
    return {"bits_per_byte": figures["mix"], "seconds": took, "network alone": figures["pretrain"], "chosen": chosen}


def peer(name: str, folder: Path, seconds: float, python: str, clones: str) -> dict[str, Any]:
    environment = {**os.environ, "CLONES": clones, "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run([python, str(HERE / "quality_contestant.py"), name, str(folder), str(seconds)], env=environment,
                          check=True, stdout=subprocess.PIPE, text=True)  # fmt: skip
    return json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--language", choices=list(quality_text.TRAIN), default="en")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--peers", default=str(HERE.parent / ".bench/bin/python"), help="the peers' Python (make bench-env)")
    parser.add_argument("--clones", help="a folder with clones of nanochat and nanoGPT")
    parser.add_argument("--package", help=f"the file of {quality_text.PACKAGE}, else it is downloaded")
    parser.add_argument("--only", nargs="*", choices=["yanmo", *PEERS], default=["yanmo", *PEERS])
    given = parser.parse_args()
    if set(given.only) & set(PEERS) and not (given.clones and Path(given.peers).exists()):
        parser.error("the peers need --clones FOLDER and an environment; run 'make bench-env' first")
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        sizes = quality_text.write(Path(temporary), given.language, given.package)
        for name in given.only:
            folder, mine = Path(temporary), name == "yanmo"
            found[name] = yanmo(folder, given.seconds) if mine else peer(name, folder, given.seconds, given.peers, given.clones)
            beside = dict(found[name])
            value, ours = beside.pop("bits_per_byte"), found.get("yanmo", {}).get("bits_per_byte")
            entry = {"benchmark": "quality", "case": f"{given.language}, {given.seconds:.0f} s: {name}",
                     "kind": "info" if mine else "peer", "ours": ours, "peer": None if mine else name,
                     "peer_value": None if mine else value, "ratio": None if mine or ours is None else round(value / ours, 3),
                     "unit": "bits per byte", **beside, "bytes": sizes}  # fmt: skip
            if given.json:
                print(json.dumps(entry), flush=True)
            else:
                print(f"{entry['case']:<28} {value:7.4f} bits per byte after {beside.pop('seconds'):.1f} s  {beside}", flush=True)


if __name__ == "__main__":
    main()
