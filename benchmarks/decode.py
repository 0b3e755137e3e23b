"""How fast text is generated: our engine, text included, and the `generate` of transformers (ids alone) on the same weights.

    python -m benchmarks.decode [--json] [--repeats 5] [--tokens 64] [--threads 1] [--only tiny medium] [--rows 1 8]

A decoder is made, saved by us and opened by both; prompts of 32 tokens, greedy, no end token. Both must give the same
tokens. They take turns, and the ratio is taken within a turn, so that a machine that slows down for a while slows both.
transformers' best is the better of its dynamic and its static cache.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from yanmo import samples
from yanmo.inference.engine import Engine, Request
from yanmo.inference.layout import for_decoding
from yanmo.inference.model import Model
from yanmo.inference.sampling import sampling
from yanmo.models.store import save
from yanmo.models.transformer import TransformerModel
from yanmo.text.bpe import BpeTokenizer

PROMPT = 32
SIZES = {
    "tiny": (2048, {"depth": 4, "width": 256, "heads": 4, "mlp_width": 704}),
    "small": (4096, {"depth": 6, "width": 384, "heads": 6, "mlp_width": 1024}),
    "medium": (8192, {"depth": 12, "width": 768, "heads": 12, "mlp_width": 2048}),
}
Generated = list[list[int]]


def ours(folder: Path) -> Callable[[list[list[int]], int], Generated]:
    alone, served = (Model.open(folder).loaded for _ in range(2))
    for_decoding(served.model, 8)

    def generate(prompts: list[list[int]], tokens: int) -> Generated:
        loaded = alone if len(prompts) == 1 else served
        engine = Engine(loaded.model, loaded.tokenizer, slots=len(prompts), capacity=PROMPT + tokens)  # type: ignore[arg-type]
        settings = sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True)
        return [found.ids for found in engine.complete([Request(ids, settings) for ids in prompts])]

    return generate


def theirs(folder: Path, cache: str) -> Callable[[list[list[int]], int], Generated]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def generate(prompts: list[list[int]], tokens: int) -> Generated:
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False,
                                   eos_token_id=None, pad_token_id=0, cache_implementation=cache)  # fmt: skip
        return found[:, PROMPT:].tolist()

    return generate


def measure(size: str, rows: list[int], tokens: int, repeats: int) -> list[dict[str, Any]]:
    vocabulary, shape = SIZES[size]
    part = TransformerModel(context=PROMPT + tokens + 1, tie=False, **shape)  # type: ignore[arg-type]
    rng = torch.Generator().manual_seed(0)
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        chapters = (samples.path("moby_dick") / "chapters.jsonl").read_text(encoding="utf-8").splitlines()
        tokenizer = BpeTokenizer(size=vocabulary).train(json.loads(line)["text"] for line in chapters)
        save(Path(temporary) / "model", part.build(tokenizer, rng), tokenizer)
        contestants = {"yanmo": ours(Path(temporary) / "model")}
        contestants |= {f"transformers ({cache})": theirs(Path(temporary) / "model", cache) for cache in ("dynamic", "static")}
        for count in rows:
            prompts = torch.randint(4, vocabulary, (count, PROMPT), generator=rng).tolist()
            rates: dict[str, list[float]] = {name: [] for name in contestants}
            for turn in range(repeats + 1):
                answers = {}
                for name, generate in contestants.items():
                    started = time.perf_counter()
                    answers[name] = generate(prompts, tokens)
                    if turn:  # the first fills caches
                        rates[name].append(count * tokens / (time.perf_counter() - started))
                agree = [sum(a == b for a, b in zip(x, y)) for x, y in zip(answers["yanmo"], answers["transformers (dynamic)"])]
                assert sum(agree) >= 0.9 * count * tokens, f"not the same work: {agree} of {tokens} tokens agree"
            best = max((name for name in rates if name != "yanmo"), key=lambda name: median(rates[name]))
            ratio = median(a / b for a, b in zip(rates["yanmo"], rates[best]))
            found.append({
                "benchmark": "decode", "case": f"{size}, {count} rows", "kind": "peer",
                "ours": round(median(rates["yanmo"]), 1), "peer": best, "peer_value": round(median(rates[best]), 1),
                "ratio": round(ratio, 3), "unit": "tokens/s",
            })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--only", nargs="*", choices=SIZES, default=list(SIZES))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for size in given.only:
        for entry in measure(size, given.rows, given.tokens, given.repeats):
            if given.json:
                print(json.dumps(entry), flush=True)
            else:
                print(f"{entry['case']:<20} {entry['ours']:>9,.1f} {entry['unit']}  {entry['ratio']:.3f} of {entry['peer']} "
                      f"({entry['peer_value']:,.1f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
