"""What counting gives: bits per byte of held-out text, build time and size, by tokenizer and order; and KenLM beside it.

    python -m benchmarks.ngram [--json] [--rounds 5] [--only english chinese] [--kenlm FOLDER [--volume 20 200]]

The text is that of the shipped samples, every tenth document held out. Build time is from token ids to a written model.
With `--kenlm` (a folder with its `lmplz` and `query`), KenLM estimates the same model from the same tokens, each program
in a process of its own: seconds from tokens to a written file (its ARPA, our model.safetensors), the largest resident
memory (ours with interpreter and torch; what they take before any work stands beside it), perplexity of the same held-out
text, which must agree to 1e-4 or the two do not do the same work, and tokens scored a second. There a token that the
training text lacks is KenLM's <unk>, and the vocabulary is what KenLM's is. `--volume` does it for so many megabytes: the
sentences of all samples, shuffled anew as often as it takes, six to a document, BPE of 8,192, order 5.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from yanmo import samples
from yanmo.inference.likelihood import score_documents
from yanmo.models.base import Inputs
from yanmo.models.kneser_ney import count, estimate
from yanmo.models.ngram import NgramFamily, NgramLanguageModel, NgramModel
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
            self.model = NgramLanguageModel(estimate(levels))
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


@dataclass
class Text:
    """Tokens numbered as KenLM numbers its words: 0 is <unk>, 1 the border."""

    name: str
    order: int
    vocabulary: int
    stream: np.ndarray  # border, tokens, border, tokens …
    held: np.ndarray  # likewise, and a border at the end


def renumbered(name: str, order: int, border: int, size: int, stream: np.ndarray, held: list[list[int]]) -> Text:
    table = np.zeros(size, np.uint32)
    seen = np.unique(stream)
    seen = seen[seen != border]
    table[seen] = np.arange(2, len(seen) + 2)
    table[border] = 1
    flat = np.array([token for ids in held for token in (border, *ids)] + [border])
    return Text(name, order, len(seen) + 2, table[stream].astype(np.uint16), table[flat])


def volume(megabytes: int) -> Text:
    """So much text: the samples' sentences, shuffled anew for each copy."""
    train, held = ([*a, *b] for a, b in zip(documents("english"), documents("chinese")))
    tokenizer = BpeTokenizer(size=8192).train(train)
    sentences = _sentences(train)
    ids = [np.array(row, np.uint16) for row in tokenizer.encode_batch(sentences)]
    size = sum(len(part.encode()) for part in sentences)
    rng, parts = np.random.default_rng(megabytes), []
    for _ in range(math.ceil(megabytes * 1e6 / size)):
        for place, number in enumerate(rng.permutation(len(ids)).tolist()):
            parts += [np.array([tokenizer.eos_id], np.uint16)] * (place % 6 == 0) + [ids[number]]
    stream = np.concatenate(parts)
    seen = np.zeros(tokenizer.size, bool)
    seen[stream] = True  # KenLM leaves one word out of the unigrams' counts of counts, which shows where there is <unk>
    known = [row for row in tokenizer.encode_batch(_sentences(held)) if seen[row].all()]
    grouped = [[token for row in known[start : start + 6] for token in row] for start in range(0, len(known), 6)]
    return renumbered(f"{megabytes} MB, bpe 8192", 5, tokenizer.eos_id, tokenizer.size, stream, grouped)


def _sentences(texts: list[str]) -> list[str]:
    return [part for body in texts for part in re.split(r"(?<=[.!?。！？\n])\s*", body) if part.strip()]


def contest(given: Text, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Both programs on the same tokens, in turn."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        given.stream.tofile(place / "stream")
        write_lines(place / "train", given.stream)
        write_lines(place / "held", given.held)
        # both score the held-out text once and eleven times: the difference is free of opening the model
        write_lines(place / "more", np.concatenate([*[given.held[:-1]] * 11, given.held[-1:]]))
        for _ in range(rounds):
            command = [sys.executable, "-m", "benchmarks.ngram", "--build", name, str(given.vocabulary), str(given.order)]
            ours.append(json.loads(run(command)[0]))
            command = [str(folder / "lmplz"), "-o", str(given.order), "--arpa", f"{name}/arpa", "-S", "1G", "-T", name,
                       "--discount_fallback"]  # fmt: skip
            _, seconds, most, _ = run(command, place / "train")
            theirs.append({"seconds": seconds, "memory": most})
        asked = [run([str(folder / "query"), "-v", "sentence", f"{name}/arpa"], place / each) for each in ("held", "more")]
        model = NgramFamily().read(place, json.loads((place / "config.json").read_text()))
        started = time.process_time()
        log = score(model, given.held)
        first = time.process_time() - started
        for _ in range(10):
            score(model, given.held)
        rate = 10 * (len(given.held) - 1) / (time.process_time() - started - first)
    logs = [float(line.split("Total:")[1].split()[0]) for line in asked[0][0].splitlines() if line.startswith("Total:")]
    targets = len(given.held) - 1
    mine, other = math.exp(-log / targets), 10 ** (-sum(logs) / targets)
    assert abs(mine / other - 1) < 1e-4, f"perplexity {mine} is not KenLM's {other}"
    their_rate = 10 * targets / (asked[1][3] - asked[0][3])
    where = f"{given.name}, order {given.order}, {len(given.stream):,} tokens"

    def against(what: str, unit: str, key: str) -> dict[str, Any]:
        mine, other = (median(each[key] for each in runs) for runs in (ours, theirs))
        return entry(f"{where}: {what}", "peer", mine, unit, "kenlm", other, other / mine)

    return [against("build", "s", "seconds"), against("memory", "MB", "memory") | {"before_any_work": ours[0]["before"]},
            entry(f"{where}: perplexity", "peer", mine, "perplexity", "kenlm", other, other / mine),
            entry(f"{where}: query", "peer", rate, "tokens/s", "kenlm", their_rate, rate / their_rate),
            entry(f"{where}: file", "info", ours[0]["bytes"], "MB")]  # fmt: skip


def write_lines(path: Path, stream: np.ndarray) -> None:
    """A document a line."""
    words = np.array(["oov ", "\n", *(f"w{token} " for token in range(2, int(stream.max()) + 1))], object)
    with open(path, "w") as file:
        for start in range(1, len(stream), 1 << 20):
            file.write("".join(words[stream[start : start + (1 << 20)]].tolist()))
        if stream[-1] != 1:
            file.write("\n")


def score(model: NgramLanguageModel, stream: np.ndarray) -> float:
    """ln p of a stream of documents, its borders' among them: nothing is remembered across a border."""
    total = 0.0
    borders = np.flatnonzero(stream == 1)
    places = np.searchsorted(borders, np.arange(0, len(stream), 1 << 15))
    for start, end in pairwise([*np.unique(borders[places[places < len(borders) - 1]]).tolist(), len(stream) - 1]):
        row = torch.from_numpy(stream[start : end + 1].astype(np.int64))[None]
        total += model.logprobs(Inputs(row[:, :-1]), row[:, 1:]).double().sum().item()
    return total


def run(command: list[str], given: Path | None = None) -> tuple[str, float, float, float]:
    """What a program says, its seconds by the clock, its largest resident memory in MB, its seconds of processor time."""
    started = time.perf_counter()
    with open(given or os.devnull) as source, tempfile.TemporaryFile("w+") as sink:
        process = subprocess.Popen(command, stdin=source, stdout=sink, stderr=subprocess.DEVNULL)
        most = 0.0
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            most = max(most, memory(process.pid))
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{command[0]} ended with {process.returncode}"
        sink.seek(0)
        return sink.read(), time.perf_counter() - started, most, usage.ru_utime + usage.ru_stime


def memory(process: int | str = "self") -> float:
    """The largest resident memory of a process so far, in MB; that of the program alone, not of who started it."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def build(folder: Path, vocabulary: int, order: int) -> None:
    """Ours, in a process of its own: the model of a folder's stream, written beside it."""
    before = memory()
    stream = np.memmap(folder / "stream", np.uint16, "r")
    started = time.perf_counter()
    tokenizer: Any = SimpleNamespace(size=vocabulary, eos_id=1)
    model = NgramModel(order=order).fit(SimpleNamespace(tokens=stream), tokenizer, folder)
    config = NgramFamily().write(model, folder)
    seconds = time.perf_counter() - started
    (folder / "config.json").write_text(json.dumps(config))
    size = (folder / "model.safetensors").stat().st_size / 1e6
    print(json.dumps({"seconds": seconds, "memory": memory(), "before": before, "bytes": size}))


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
    parser.add_argument("--volume", nargs="*", type=int, default=[], help="megabytes of text for both, instead of the samples")
    parser.add_argument("--build", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        build(Path(given.build[0]), int(given.build[1]), int(given.build[2]))
        return
    if given.volume:
        if given.kenlm is None:
            parser.error("--volume measures against --kenlm FOLDER")
        show([line for size in given.volume for line in contest(volume(size), given.kenlm, given.rounds)], given.json)
        return
    chosen = cases(given.only)
    for round_ in range(given.rounds):
        for case in chosen[round_ % len(chosen) :] + chosen[: round_ % len(chosen)]:
            case.build()
    found = [case.line() for case in chosen]
    if given.kenlm:
        for case in chosen:
            if (case.name, case.order) in PEERS:
                tokenizer, name = case.tokenizer, f"{case.language}, {case.name}"
                held = tokenizer.encode_batch(case.held)
                text = renumbered(name, case.order, tokenizer.eos_id, tokenizer.size, case.stream, held)
                found += contest(text, given.kenlm, given.rounds)
    show(found, given.json)


def show(found: list[dict[str, Any]], as_json: bool) -> None:
    for line in found:
        if as_json:
            print(json.dumps(line))
        elif "build_seconds" in line:
            print(f"{line['case']:<34} {line['ours']:.3f} bits/byte  {line['build_seconds']:6.2f} s  {line['tokens']:>9,} tokens "
                  f"{line['ngrams']:>10,} n-grams of {line['bytes_an_ngram']:.2f} bytes")  # fmt: skip
        elif line["kind"] == "info":
            print(f"{line['case']:<64} {line['ours']:.1f} {line['unit']}")
        else:
            print(f"{line['case']:<64} {line['ours']:.4f} {line['unit']}  kenlm {line['peer_value']:.4f}  "
                  f"ratio {line['ratio']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
