"""What a training step holds: the plan's figure beside what the process really took, and the chunked loss beside torch's.

    python -m benchmarks.memory [--json] [--only CASE …] [--steps 6]

Each case is a process of its own; what it held before the model was built is taken off its highest figure. 'whole' is the same
model, batch and optimizer with the loss of plain PyTorch: all logits, then torch.nn.functional.cross_entropy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TINY = {"depth": 4, "width": 256, "heads": 4}
# name: model, objective, vocabulary, rows, context
CASES: dict[str, tuple[dict[str, Any], str, int, int, int]] = {
    "gpt, vocabulary 50,257": ({"type": "transformer", "depth": 6, "width": 384, "heads": 6}, "causal", 50_257, 8, 512),
    "gpt": ({"type": "transformer", **TINY}, "causal", 8192, 16, 256),
    "bert": ({"type": "bert", **TINY}, "masked", 8192, 16, 256),
    "t5": ({"type": "t5", **TINY}, "span_corruption", 8192, 16, 256),
    "bart": ({"type": "bart", **TINY}, "denoise", 8192, 16, 256),
    "lstm": ({"type": "lstm", "depth": 2, "width": 256}, "causal", 8192, 16, 128),
}
WHOLE = ("gpt, vocabulary 50,257", "gpt")


def tokenizer_of(size: int) -> Any:
    """A tokenizer of so many characters."""
    from yanmo.text.characters import CharacterTokenizer

    special = ("<mask>", *(f"<extra_id_{index}>" for index in range(100)))
    letters = [chr(0x4E00 + index) for index in range(20_000)] + [chr(0x20000 + index) for index in range(40_000)]
    few = CharacterTokenizer(min_count=1, special=special).train(letters[:10]).size - 10
    return CharacterTokenizer(min_count=1, special=special).train(letters[: size - few])


def measured(case: str, whole: bool, steps: int) -> dict[str, float]:
    """In this process: the plan's figures, and what the process takes. Bytes."""
    import numpy as np
    import torch

    from yanmo.core.data import Row
    from yanmo.core.registry import create
    from yanmo.objectives.base import Context
    from yanmo.train.job import Job
    from yanmo.train.plan import memory
    from yanmo.train.step import forward_of, update

    settings, kind, size, rows, context = CASES[case]
    tokenizer = tokenizer_of(size)
    objective = create("objective", {"type": kind, "context": context}).bind(Context(tokenizer))
    rng = np.random.default_rng(0)

    def batch(seed: int) -> Any:
        made = [Row(rng.integers(200, size, objective.stretch(context) + objective.overlap).tolist(), example=str(index))
                for index in range(rows)]  # fmt: skip
        return objective.collate(made, torch.Generator().manual_seed(seed))

    part, optimizer = create("model", settings), create("optimizer", "adamw")
    build = lambda: part.build(tokenizer, torch.Generator().manual_seed(0), context=context)  # noqa: E731
    batches = [batch(seed) for seed in range(steps)]
    plan = memory.needed(build, optimizer, objective, batches[:1], "fp32", torch.device("cpu"))
    before = memory.resident() or 0
    memory.begin_peak()
    model = build().train()
    live = optimizer.make(model)
    if whole:
        for one in batches:
            logits = model(one.inputs).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), one.targets.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            live.step()
            live.zero_grad(set_to_none=True)
    else:
        job = Job(model, objective, None, live, create("schedule", "constant"), 1, Path("."), 0)  # type: ignore[arg-type]
        forward = forward_of(job)
        for index, one in enumerate(batches):
            update(job, forward, [one], torch.Generator().manual_seed(index))
    return {"plan": plan.peak, "tensors": plan.live, "peak": (memory.peak() or 0) - before}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(given.child[0], given.child[1] == "whole", given.steps)))
        return
    for case in given.only:
        found = {}
        for way in ("ours", *(("whole",) if case in WHOLE else ())):
            words = [sys.executable, "-m", "benchmarks.memory", "--child", case, way, "--steps", str(given.steps)]
            done = subprocess.run(words, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True)
            found[way] = json.loads(done.stdout.splitlines()[-1])
        ours = found["ours"]
        entry: dict[str, Any] = {"benchmark": "memory", "case": case, "unit": "MB", "plan": ours["plan"] / 1e6,
                                 "tensors": ours["tensors"] / 1e6, "ours": ours["peak"] / 1e6,
                                 "plan over peak": ours["plan"] / ours["peak"]}  # fmt: skip
        if "whole" in found:
            entry |= {"peer": "torch's cross_entropy", "peer_value": found["whole"]["peak"] / 1e6,
                      "ratio": ours["peak"] / found["whole"]["peak"]}  # fmt: skip
        entry = {name: round(value, 3) if isinstance(value, float) else value for name, value in entry.items()}
        print(json.dumps(entry) if given.json else
              f"{case:<24} plan {entry['plan']:7.0f} MB, took {entry['ours']:7.0f} MB (plan / peak {entry['plan over peak']:.2f})"
              + (f", with torch's cross_entropy {entry['peer_value']:.0f} MB: {entry['ratio']:.2f}" if "whole" in found else ""),
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
