"""Encoding through our data path beside `tokenizers`' own batch, in processor time, and what training takes.

    python -m benchmarks.tokenization [--json]

Ours is `Tokenizer.encode_batch` (long texts in slices, lone surrogates replaced, memory bounded); the peer is
`encode_batch_fast` of the same tokenizer on the same texts. Processor time of all threads, minima of interleaved repeats.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from yanmo.core.registry import create

SAMPLES = ("moby_dick", "sanguo")
KINDS = ("bpe", "characters", "unigram", "wordpiece")  # those that are trained from text alone
REPEATS = 7


def texts() -> list[str]:
    folder = files("yanmo.samples")
    lines = [line for name in SAMPLES for line in (folder / name / "chapters.jsonl").read_text(encoding="utf-8").splitlines()]
    return [json.loads(line)["text"] for line in lines]


def seconds(*works: Callable[[], Any]) -> list[float]:
    """The least processor time of each, in turns."""
    best = [float("inf")] * len(works)
    for _ in range(REPEATS):
        for index, work in enumerate(works):
            started = time.process_time()
            work()
            best[index] = min(best[index], time.process_time() - started)
    return best


def run() -> list[dict[str, Any]]:
    sample = texts()
    megabytes = sum(len(text.encode("utf-8")) for text in sample) / 1e6
    rows = []
    for kind in KINDS:
        started = time.process_time()
        tokenizer = create("tokenizer", {"type": kind}).train(sample, at_most=4096)
        trained = time.process_time() - started

        def theirs(inner: Any = tokenizer.inner) -> list[list[int]]:
            return [encoding.ids for encoding in inner.encode_batch_fast(sample, add_special_tokens=False)]

        ours, peer = seconds(lambda made=tokenizer: made.encode_batch(sample), theirs)
        rows.append({"benchmark": "tokenization", "case": f"encode {kind}", "kind": "peer", "ours": megabytes / ours,
                     "peer": "tokenizers", "peer_value": megabytes / peer, "ratio": peer / ours, "unit": "MB/s"})  # fmt: skip
        rows.append({"benchmark": "tokenization", "case": f"train {kind}", "kind": "info", "ours": megabytes / trained,
                     "peer": None, "peer_value": None, "ratio": None, "unit": "MB/s"})  # fmt: skip
    return rows


def main() -> None:
    for row in run():
        if "--json" in sys.argv:
            print(json.dumps(row))
        else:
            ratio = "" if row["ratio"] is None else f"  {row['ratio']:.3f} of {row['peer']} ({row['peer_value']:.2f})"
            print(f"{row['case']:<20} {row['ours']:8.2f} {row['unit']}{ratio}")


if __name__ == "__main__":
    main()
