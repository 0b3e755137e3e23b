"""What counting gives: bits per byte of held-out text, build time and size, by tokenizer and order; and KenLM beside it.

    python -m benchmarks.ngram [--json] [--rounds 5] [--only english chinese] [--kenlm FOLDER]

The text is that of the shipped samples, every tenth document held out. Build time is from token ids to a written model.
With `--kenlm` (a folder with its `lmplz` and `query`), KenLM estimates the same model from the same tokens, and its
perplexity of the same held-out text stands beside ours: they must agree to 1e-5, or the two do not do the same work.
There a token that the training text lacks is KenLM's <unk>, and the vocabulary is what KenLM's is.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from yanmo import samples
from yanmo.inference.likelihood import score_documents
from yanmo.models.base import Inputs
from yanmo.models.kneser_ney import count
from yanmo.models.ngram import NgramFamily, NgramLanguageModel
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.tokenizer import Tokenizer

SOURCES = {"english": ("moby_dick", "state_of_the_union"), "chinese": ("sanguo", "tang_poems")}
CASES = {
    "english": [("characters", 5), ("characters", 8), ("characters", 10), ("bpe 2048", 2), ("bpe 2048", 4), ("bpe 2048", 6),
                ("bpe 8192", 3), ("bpe 8192", 5)],
    "chinese": [("characters", 2), ("characters", 3), ("characters", 5), ("bpe 2048", 4), ("bpe 2048", 6), ("bpe 8192", 2),
                ("bpe 8192", 3), ("bpe 8192", 5)],
}  # fmt: skip
PEERS = (("bpe 2048", 4), ("bpe 8192", 5))


@dataclass
class Case:
    language: str
    name: str
    order: int
    tokenizer: Tokenizer
    stream: np.ndarray  # border, tokens, border, tokens …
    held: list[str]
    seconds: list[float] = field(default_factory=list)
    model: NgramLanguageModel | None = None
    bytes: int = 0

    def build(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            levels = count(self.stream, self.tokenizer.size, self.tokenizer.eos_id, self.order)
            self.model = NgramLanguageModel(levels)
            NgramFamily().write(self.model, Path(folder))
            self.seconds.append(time.perf_counter() - started)
            self.bytes = (Path(folder) / "model.safetensors").stat().st_size

    def line(self) -> dict[str, Any]:
        assert self.model is not None
        ngrams = sum(self.model.ngrams)
        return entry(f"{self.language}, {self.name}, order {self.order}", "info",
                     score_documents(self.model, self.tokenizer, self.held).bits_per_byte, "bits/byte") | {
            "build_seconds": round(median(self.seconds), 2), "tokens": len(self.stream), "ngrams": ngrams,
            "bytes_an_ngram": round(self.bytes / ngrams, 2)}  # fmt: skip


def documents(language: str) -> tuple[list[str], list[str]]:
    texts = [
        json.loads(line)["text"]
        for name in SOURCES[language]
        for file in sorted(samples.path(name).glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return [text for number, text in enumerate(texts) if number % 10], texts[::10]


def cases(languages: list[str]) -> list[Case]:
    found = []
    for language in languages:
        train, held = documents(language)
        made: dict[str, tuple[Tokenizer, np.ndarray]] = {}
        for name, order in CASES[language]:
            if name not in made:
                size = int(name.split()[1]) if " " in name else None
                tokenizer = (BpeTokenizer(size=size) if size else CharacterTokenizer()).train(train)
                ids = [token for text in tokenizer.encode_batch(train) for token in (tokenizer.eos_id, *text)]
                made[name] = (tokenizer, np.array(ids, np.uint16))
            found.append(Case(language, name, order, *made[name], held))
    return found


def kenlm(case: Case, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """KenLM's lmplz on the same tokens: seconds against ours, and perplexity against ours."""
    border = case.tokenizer.eos_id
    pieces = np.split(case.stream, np.flatnonzero(case.stream == border))[1:]
    seen = {token: number for number, token in enumerate(np.unique(case.stream[case.stream != border]).tolist(), 2)}
    train = [[seen[token] for token in piece[1:].tolist()] for piece in pieces]
    held = [[seen.get(token, 0) for token in ids] for ids in case.tokenizer.encode_batch(case.held)]
    stream = np.array([token for ids in train for token in (1, *ids)], np.uint16)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as place:
        for name, rows in (("train", train), ("held", held)):
            lines = [" ".join(f"w{token}" if token else "oov" for token in ids) for ids in rows]
            (Path(place) / name).write_text("\n".join(lines) + "\n")
        for _ in range(rounds):
            started = time.perf_counter()
            model = NgramLanguageModel(count(stream, len(seen) + 2, 1, case.order))
            NgramFamily().write(model, Path(place))
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            with open(f"{place}/train") as text:
                command = [str(folder / "lmplz"), "-o", str(case.order), "--arpa", f"{place}/arpa", "-S", "1G", "-T", place,
                           "--discount_fallback"]  # fmt: skip
                subprocess.run(command, stdin=text, check=True, capture_output=True)
            theirs.append(time.perf_counter() - started)
        with open(f"{place}/held") as text:
            command = [str(folder / "query"), "-v", "sentence", f"{place}/arpa"]
            said = subprocess.run(command, stdin=text, check=True, capture_output=True)
    logs = [float(line.split(b"Total:")[1].split()[0]) for line in said.stdout.splitlines() if line.startswith(b"Total:")]
    total = 0.0
    for ids in held:
        row = torch.tensor([[1, *ids, 1]])
        total += model.logprobs(Inputs(row[:, :-1]), row[:, 1:]).double().sum().item()
    targets = sum(len(ids) + 1 for ids in held)
    mine, other = math.exp(-total / targets), 10 ** (-sum(logs) / targets)
    assert abs(mine / other - 1) < 1e-5, f"perplexity {mine} is not KenLM's {other}"
    where = f"{case.language}, {case.name}, order {case.order}"
    ratio = median(b / a for a, b in zip(ours, theirs))
    return [entry(f"{where}, build", "peer", median(ours), "s", "kenlm", median(theirs), ratio),
            entry(f"{where}, perplexity", "peer", mine, "perplexity", "kenlm", other, other / mine)]  # fmt: skip


def entry(case: str, kind: str, ours: float, unit: str, peer: str | None = None, value: float | None = None,
          ratio: float | None = None) -> dict[str, Any]:  # fmt: skip
    return {"benchmark": "ngram", "case": case, "kind": kind, "ours": round(ours, 4), "peer": peer,
            "peer_value": None if value is None else round(value, 4), "ratio": None if ratio is None else round(ratio, 3),
            "unit": unit}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ngram", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--kenlm", type=Path, help="a folder with KenLM's lmplz and query")
    given = parser.parse_args()
    chosen = cases(given.only)
    for round_ in range(given.rounds):
        for case in chosen[round_ % len(chosen) :] + chosen[: round_ % len(chosen)]:
            case.build()
    found = [case.line() for case in chosen]
    if given.kenlm:
        for case in chosen:
            if (case.name, case.order) in PEERS:
                found += kenlm(case, given.kenlm, given.rounds)
    for line in found:
        if given.json:
            print(json.dumps(line))
        elif line["kind"] == "info":
            print(f"{line['case']:<34} {line['ours']:.3f} bits/byte  {line['build_seconds']:6.2f} s  {line['tokens']:>9,} tokens "
                  f"{line['ngrams']:>10,} n-grams of {line['bytes_an_ngram']:.2f} bytes")  # fmt: skip
        else:
            print(f"{line['case']:<44} {line['ours']:.4f} {line['unit']}  kenlm {line['peer_value']:.4f}  "
                  f"ratio {line['ratio']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
