"""Fine-tuning, whole and by LoRA: ours against Hugging Face's Trainer with PEFT, on an encoder and on a chat model.

    python -m benchmarks.finetune --encoder FOLDER --decoder FOLDER [--json] [--rounds 5] [--steps 4] [--rows 16] [--length 128]

`--encoder`: a Hugging Face folder such as all-MiniLM-L6-v2's, tuned to label intents; `--decoder`: one such as SmolLM2's (a
GGUF file: `yanmo export` makes a folder of it), tuned on dialogues. Either may be left out. The data are shipped samples and
dialogues made of them, the same for all: texts of many lengths, as real ones are.

Every contestant is a process that stays alive. In each round each trains a burst of steps, one after another in an order that
changes; ratios are taken within a round and their median is reported. `samples/s` above 1 is ours faster; `memory` is the
peer's peak over ours, each net of its interpreter and libraries: what a contestant imports along the way is found by a first
process that is thrown away, and imported before the second begins to count. `lora/full` is our LoRA's peak over our whole
tuning's.
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
from statistics import median
from typing import Any

HERE = Path(__file__).parent
NAMES = ("yanmo-full", "yanmo-lora", "hf-full", "hf-lora")


class Contestant:
    def __init__(self, name: str, python: str, given: list[str], folder: Path):
        self.name = name
        self.rates: list[float] = []  # rows a second, one for each round
        self.memory = 0
        imports = folder / f"{name}.txt"
        imports.write_text("")
        self._start(python, [*given, str(imports)])
        imports.write_text("\n".join(self._answer()["imported"]))
        self.close()
        self._start(python, [*given, str(imports)])
        self._answer()

    def _start(self, python: str, given: list[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": given[-2], "HF_HUB_OFFLINE": "1",
                       "TOKENIZERS_PARALLELISM": "false"}  # fmt: skip
        self.process = subprocess.Popen([python, str(HERE / "finetune_contestant.py"), self.name, *given], env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith('{"'):  # what a Trainer prints of itself is no JSON
                return json.loads(line)
        raise SystemExit(f"benchmarks.finetune: {self.name} failed; see above")

    def burst(self, steps: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.rates.append(answer["rows"] / answer["seconds"])
        self.memory = max(self.memory, answer["memory"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def rows_of(kind: str, folder: Path) -> Path:
    """The data of one kind: shipped sentences with their labels, or dialogues made of shipped sentences."""
    from yanmo.core.registry import create

    examples = create("task", {"type": "classify", "path": "samples/intents"}).load("train")
    rng = random.Random(0)
    said = []
    for example in rng.sample(examples, min(2000, len(examples))):
        text, label = example.fields["text"], example.fields["label"]
        if kind == "classify":
            said.append({"text": text, "label": label})
        else:
            others = " ".join(rng.choice(examples).fields["text"] for _ in range(rng.randrange(1, 9)))
            said.append({"messages": [{"role": "user", "content": f"{text} {others}"},
                                      {"role": "assistant", "content": f"{label}: {others}"}]})
    path = folder / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in said), encoding="utf-8")
    return path


def measure(kind: str, model: str, given: Any) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        data = rows_of(kind, Path(folder))
        settings = [model, kind, str(data), str(given.rows), str(given.length), str(given.threads)]
        started: list[Contestant] = []
        order = random.Random(0)
        try:
            for name in NAMES:
                started.append(Contestant(name, sys.executable if name.startswith("yanmo") else given.peers, settings,
                                           Path(folder)))  # fmt: skip
            for _ in range(given.rounds):
                for contestant in order.sample(started, len(started)):
                    contestant.burst(given.steps)
        finally:
            for contestant in started:
                contestant.close()
    return lines(kind, {contestant.name: contestant for contestant in started})


def lines(kind: str, found: dict[str, Contestant]) -> list[dict[str, Any]]:
    what = {"classify": "encoder", "text": "decoder"}[kind]
    made = []
    for way in ("full", "lora"):
        ours, peer = found[f"yanmo-{way}"], found[f"hf-{way}"]
        ratio = median(a / b for a, b in zip(ours.rates, peer.rates))
        made.append(line(f"{what} {way}", "peer", median(ours.rates), "transformers", median(peer.rates), ratio, "samples/s"))
        made.append(line(f"{what} {way}, memory", "peer", ours.memory / 1e6, "transformers", peer.memory / 1e6,
                         peer.memory / ours.memory, "MB"))  # fmt: skip
    whole, low = found["yanmo-full"].memory / 1e6, found["yanmo-lora"].memory / 1e6
    made.append(line(f"{what} lora/full, memory", "info", low, "yanmo-full", whole, low / whole, "MB"))
    return made


def line(case: str, kind: str, ours: float, peer: str, value: float, ratio: float, unit: str) -> dict[str, Any]:
    return {"benchmark": "finetune", "case": case, "kind": kind, "ours": round(ours, 2), "peer": peer,
            "peer_value": round(value, 2), "ratio": round(ratio, 3), "unit": unit}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finetune", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--encoder", help="a folder with an encoder")
    parser.add_argument("--decoder", help="a folder with a chat model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps in a burst")
    parser.add_argument("--rows", type=int, default=16, help="rows of a step")
    parser.add_argument("--length", type=int, default=128, help="tokens of a row, at most")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", default=sys.executable, help="a Python with transformers, accelerate and peft")
    given = parser.parse_args()
    if not given.encoder and not given.decoder:
        parser.error("name --encoder, --decoder, or both")
    for kind, model in (("classify", given.encoder), ("text", given.decoder)):
        for entry in measure(kind, model, given) if model else ():
            if given.json:
                print(json.dumps(entry), flush=True)
            else:
                print(f"{entry['case']:<28} {entry['ours']:>10,.1f} {entry['unit']:<10} {entry['ratio']:.3f} of {entry['peer']} "
                      f"({entry['peer_value']:,.1f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
