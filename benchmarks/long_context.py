"""Texts longer than a model was trained for: what each way of stretching its positions gives, before and after a short tuning.

    python -m benchmarks.long_context [--json] [--work FOLDER] [--figure FOLDER] [--only NAME …] [--toy] [--threads 1]

A decoder of two layers is trained here, on rows of 128 tokens of the samples in both languages and on passkey rows (Mohtashami
and Jaggi 2023, arXiv:2305.16300: five digits are told in the first half of a row and asked for at its end); another one is
trained with ALiBi. Then each of these reads up to 8 times as far:

    none       the model as it is
    linear     positions divided by 8
    dynamic    NTK-aware: at n times the trained length, slow pairs turn n times slower
    yarn       a ramp between both
    window     4 sinks and a window of 124, streamed: places never go beyond those trained
    alibi      the other model

Reported: perplexity over the second half of each length (on held-out texts, the same for all) and how often all five digits
are found, at 1, 2, 4 and 8 times the trained length; both again after a tuning of a few steps at 8 times the length; and
100,000 tokens streamed, with the process's memory. What is finished is kept in `--work`: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yanmo import samples
from yanmo.core import files
from yanmo.core.registry import create
from yanmo.inference.streaming import stream
from yanmo.models.base import Inputs
from yanmo.models.store import load, save
from yanmo.models.transformer import Transformer, TransformerModel
from yanmo.objectives.base import Batch
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.tokenizer import Tokenizer
from yanmo.train.job import Job
from yanmo.train.loop import train

LENGTH, TIMES, SINKS = 128, (1, 2, 4, 8), 4
LONGEST = LENGTH * TIMES[-1]
STEPS, ROWS, TUNING, TUNING_ROWS = 700, 16, 60, 4
SIZE = {"depth": 2, "width": 128, "heads": 4, "head_size": 32, "qk_norm": False}
TEXTS, KEYS, STREAMED = 48, 60, 100_000
SOURCES = {"moby_dick": "chapters", "sanguo": "chapters", "state_of_the_union": "speeches"}
TOLD = {  # what a passkey row says and asks, and the sources of its filling
    "en": ("\nThe pass key is ", ". Remember it.\n", "\nWhat is the pass key? The pass key is ", (0, 2)),
    "zh": ("\n通行码是", "。请记住。\n", "\n通行码是什么？通行码是", (1,)),
}
WEIGHT = 20.0  # of an answer's digit in the loss
NEAR, FAR = {"trained": LENGTH}, {"factor": float(TIMES[-1])}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {  # name → the trained model, and what is changed of it
    "none": ("rotary", {}),
    "linear": ("rotary", {"position": {"type": "rotary", "scaling": {"type": "linear", **FAR}}}),
    "dynamic": ("rotary", {"position": {"type": "rotary", "scaling": {"type": "dynamic", "factor": 1.0, **NEAR}}}),
    "yarn": ("rotary", {"position": {"type": "rotary", "scaling": {"type": "yarn", **FAR, **NEAR}}}),
    "window": ("rotary", {"attention": {"window": LENGTH - SINKS, "sinks": SINKS}}),
    "alibi": ("alibi", {"position": "alibi"}),
}
STAGES = ("trained", "tuned")


class Texts:
    """The samples as tokens: of every source, nine tenths of the documents to train on and the last tenth held out."""

    def __init__(self, folder: Path):
        self.documents = [[json.loads(line)["text"] for line in (samples.path(name) / f"{file}.jsonl").open(encoding="utf-8")]
                          for name, file in SOURCES.items()]  # fmt: skip
        if not (folder / "tokenizer" / "tokenizer.json").is_file():
            made = BpeTokenizer(size=1024).train(text for group in self.documents for text in group[: len(group) * 9 // 10 : 3])
            with files.atomic(folder / "tokenizer") as temporary:
                temporary.mkdir()
                made.save(temporary)
        self.tokenizer = Tokenizer.load(folder / "tokenizer")
        digits = [self.tokenizer.encode(str(digit)) for digit in range(10)]
        assert all(len(ids) == 1 for ids in digits), "a digit is a token"
        self.digits = np.array(digits)[:, 0]
        self.told = {language: ([self.tokenizer.encode(text) for text in texts], sources)
                     for language, (*texts, sources) in TOLD.items()}  # fmt: skip

    def stream(self, source: int, held_out: bool) -> np.ndarray:
        group = self.documents[source]
        cut = len(group) * 9 // 10
        encoded = self.tokenizer.encode_batch(group[cut:] if held_out else group[:cut])
        return np.concatenate([[self.tokenizer.eos_id, *ids] for ids in encoded])

    @cached_property
    def training(self) -> list[np.ndarray]:
        return [self.stream(source, False) for source in range(len(SOURCES))]

    @cached_property
    def held_out(self) -> list[np.ndarray]:
        return [self.stream(source, True) for source in range(len(SOURCES))]

    def stretch(self, rng: np.random.Generator, streams: list[np.ndarray], length: int) -> np.ndarray:
        """A border and `length` tokens of one source, from anywhere on."""
        line = streams[int(rng.integers(len(streams)))]
        start = int(rng.integers(len(line) - length))
        return np.concatenate([[self.tokenizer.eos_id], line[start : start + length]])

    def passkey(self, rng: np.random.Generator, streams: list[np.ndarray], length: int, language: str) -> np.ndarray:
        """length + 1 tokens that end with the key: five different digits, told somewhere in the first half."""
        (before, after, asked), sources = self.told[language]
        key = self.digits[rng.permutation(10)[:5]].tolist()
        told, asked = [*before, *key, *after], [*asked, *key]
        filling = self.stretch(rng, [streams[index] for index in sources], length - len(told) - len(asked))[1:]
        place = int(rng.integers(max(1, length // 2 - len(told))))
        return np.array([self.tokenizer.eos_id, *filling[:place], *told, *filling[place:], *asked])


class Rows:
    """What a step trains on: plain and passkey rows, which grow from half the length to all of it (at full length from the
    beginning, nothing is retrieved in this time). The cursor's second number is the step."""

    def __init__(self, texts: Texts, length: int, rows: int, steps: int, keys: float, grow: bool):
        self.texts, self.length, self.rows, self.steps, self.keys, self.grow = texts, length, rows, steps, keys, grow

    def take(self, cursor: tuple[int, int], rng: torch.Generator) -> tuple[list[Batch], tuple[int, int]]:
        draws, done = np.random.Generator(np.random.PCG64([7, cursor[1]])), cursor[1] / self.steps
        length = self.length if not self.grow or done > 0.7 else self.length // 2 if done < 0.5 else self.length * 3 // 4
        count = self.rows * self.length // length
        tokens, weights = np.empty((count, length + 1), np.int64), np.ones((count, length), np.float32)
        for row in range(count):
            if draws.random() < self.keys:
                tokens[row] = self.texts.passkey(draws, self.texts.training, length, ("en", "zh")[int(draws.integers(2))])
                weights[row, -5:] = WEIGHT
            else:
                tokens[row] = self.texts.stretch(draws, self.texts.training, length)
        made = torch.from_numpy(tokens)
        return [Batch(Inputs(made[:, :-1]), made[:, 1:], torch.from_numpy(weights), items=list(range(count)))], (0, cursor[1] + 1)

    def describe(self, items: list[Any]) -> str:
        return ", ".join(str(item) for item in items)


def trained(name: str, texts: Texts, folder: Path, steps: int) -> Transformer:
    """The model that a variant begins with; what is done of its training is kept."""
    part = TransformerModel(**SIZE, position=name, context=LENGTH)  # type: ignore[arg-type]
    if not (folder / "model").is_dir():
        model = part.build(texts.tokenizer, torch.Generator().manual_seed(0))
        learn(model, Rows(texts, LENGTH, ROWS, steps, 0.75, True), folder, steps, {"type": "muon"})
        save(folder / "model", model, texts.tokenizer)
    return load(folder / "model").model


def learn(model: Transformer, rows: Rows, folder: Path, steps: int, optimizer: dict[str, Any]) -> None:
    train(Job(model, create("objective", "causal"), rows, create("optimizer", optimizer).make(model),
              create("schedule", "wsd"), steps, folder, 0, checkpoint_every=50))  # fmt: skip


def changed(model: Transformer, name: str) -> Transformer:
    """The same weights with a variant's positions or attention, for the longest length."""
    settings = model.part.model_dump(exclude={"type"}) | VARIANTS[name][1] | {"context": LONGEST}
    other = Transformer(TransformerModel(**settings), model.vocabulary)
    other.load_state_dict(model.state_dict())
    return other.eval()


def tuned(model: Transformer, texts: Texts, folder: Path, steps: int) -> Transformer:
    if not (folder / "model").is_dir():
        learn(model, Rows(texts, LONGEST, TUNING_ROWS, steps, 0.5, False), folder, steps, {"type": "adamw", "lr": 1e-3})
        save(folder / "model", model, texts.tokenizer)
    model.load_state_dict(load(folder / "model").model.state_dict())
    return model.eval()


# ------------------------------------------------------------------------------------------------ figures of a model


@torch.no_grad()
def logprobs(model: Transformer, rows: np.ndarray, last: int | None = None) -> np.ndarray:
    """log p of each row's tokens after the first (N, T), or of its `last` ones; a model with a window is streamed."""
    if model.rolls:
        found = np.stack([np.concatenate(list(stream(model, row.tolist()))) for row in rows])
    else:
        lines = torch.from_numpy(rows)
        parts = [model.logprobs(Inputs(part[:, :-1]), part[:, 1:]) for part in lines.split(max(1, 8192 // lines.shape[1]))]
        found = torch.cat(parts).numpy()
    return found if last is None else found[:, -last:]


@torch.no_grad()
def found_keys(model: Transformer, rows: np.ndarray) -> np.ndarray:
    """(N,) bool: whether each of a row's last five tokens is the model's first choice."""
    lines, right = torch.from_numpy(rows), []
    for part in lines.split(max(1, 8192 // lines.shape[1])):
        if model.rolls:
            right.append(torch.stack([_choices(model, row) == row[-5:] for row in part]))
        else:
            select = torch.zeros(len(part), part.shape[1] - 1, dtype=torch.bool)
            select[:, -5:] = True
            chosen = model(Inputs(part[:, :-1]), select=select).logits.argmax(-1).view(len(part), 5)
            right.append(chosen == part[:, -5:])
    return torch.cat(right).all(1).numpy()


def _choices(model: Transformer, row: Tensor) -> Tensor:
    from yanmo.inference.streaming import STRETCH, endless

    slots, line = endless(model, 1, STRETCH), row[None, :-1]
    found = []
    for piece in line.split(STRETCH, 1):
        found.append(model(Inputs(piece), slots).logits[0].argmax(-1))
        slots.advance(piece.shape[1])
    return torch.cat(found)[-5:]


def measured(model: Transformer, texts: Texts, count: int, keys: int) -> dict[str, Any]:
    rng = np.random.Generator(np.random.PCG64(11))
    rows = np.stack([texts.stretch(rng, texts.held_out, LONGEST) for _ in range(count)])
    nats = -logprobs(model, rows).astype(np.float64)
    bins = nats.reshape(count, -1, LENGTH // 4).mean((0, 2))
    found: dict[str, Any] = {"by_position": [round(math.exp(value), 3) for value in bins]}
    for times in TIMES:
        length = LENGTH * times
        found[f"perplexity_{times}"] = round(math.exp(nats[:, length // 2 : length].mean()), 3)
        asked = np.stack([texts.passkey(rng, texts.held_out, length, ("en", "zh")[row % 2]) for row in range(keys)])
        found[f"passkey_{times}"] = round(float(found_keys(model, asked).mean()), 4)
    return found


def streaming(model: Transformer, texts: Texts, count: int) -> dict[str, Any]:
    """Perplexity of a text of `count` tokens, and by how much the process grew while it was read, behind its first fiftieth."""
    line = np.concatenate(texts.held_out)
    line = np.tile(line, -(-count // len(line)))[:count]
    parts: list[tuple[float, int]] = []
    memory: list[float] = []
    started = time.process_time()
    for part in stream(model, iter(line.tolist())):
        parts.append((float(part.astype(np.float64).sum()), len(part)))
        memory.append(resident())
    seconds, tenth = time.process_time() - started, len(parts) // 10
    curve = [math.exp(-sum(s for s, _ in parts[i : i + tenth]) / sum(n for _, n in parts[i : i + tenth]))
             for i in range(0, tenth * 10, tenth)]  # fmt: skip
    p: Any = model.part
    grown = max(memory) - memory[len(memory) // 50]
    return {"megabytes": round(grown, 2), "process_megabytes": round(max(memory), 1), "tokens": count,
            "tokens_per_second": round(count / seconds), "by_tenth": [round(value, 3) for value in curve],
            "plain_cache_megabytes": round(count * p.depth * 2 * p.kv_heads * p.head_size * 4 / 2**20, 1)}  # fmt: skip


def resident() -> float:
    """Megabytes that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


# ------------------------------------------------------------------------------------------------ the whole


def results(folder: Path, only: list[str], toy: bool) -> dict[str, Any]:
    """variant → stage → figures, and "stream"; what stands in `folder` is not done again."""
    texts, steps = Texts(folder), 6 if toy else STEPS
    found: dict[str, Any] = {}
    sizes = (4, 4) if toy else (TEXTS, KEYS)
    for name in only:
        for stage in ("streamed",) if name == "stream" else STAGES:
            place = folder / f"{name}-{stage}.json"
            if not place.is_file():
                base = VARIANTS.get(name, VARIANTS["window"])[0]
                model = changed(trained(base, texts, folder / base, steps), "window" if name == "stream" else name)
                if stage == "streamed":
                    figures = streaming(model, texts, 3000 if toy else STREAMED)
                else:
                    if stage == "tuned":
                        model = tuned(model, texts, folder / f"{name}-tuned", 2 if toy else TUNING)
                    figures = measured(model, texts, *sizes)
                files.write_json(place, figures)
            found.setdefault(name, {})[stage] = files.read_json(place)
    return found


def lines(found: dict[str, Any]) -> list[dict[str, Any]]:
    made = []
    reference = found.get("none", {}).get("trained")
    for name in (name for name in found if name != "stream"):
        for stage in STAGES:
            for times in TIMES:
                for what, unit in (("perplexity", "perplexity"), ("passkey", "share found")):
                    value = found[name][stage][f"{what}_{times}"]
                    plain = reference[f"{what}_{times}"] if reference and (name, stage) != ("none", "trained") else None
                    better = None
                    if plain:
                        better = plain / value if what == "perplexity" else value / plain
                    made.append({"benchmark": "long_context", "case": f"{name}, {stage}, {what} at {times}x", "kind": "info",
                                 "ours": value, "peer": None if plain is None else "none, trained", "peer_value": plain,
                                 "ratio": None if better is None else round(better, 3), "unit": unit})  # fmt: skip
    if "stream" in found:
        told = found["stream"]["streamed"]
        made.append({"benchmark": "long_context", "case": f"{told['tokens']:,} tokens streamed", "kind": "info",
                     "ours": told["megabytes"], "peer": "keys and values of the whole text",
                     "peer_value": told["plain_cache_megabytes"], "ratio": None, "unit": "MB grown", **told})  # fmt: skip
    return made


def half_octaves(values: list[float]) -> tuple[list[float], list[float]]:
    """Where, in bins, and the geometric means of perplexities by position, of as many bins as a half of an octave has: far out
    on a logarithmic axis, single bins would only show their noise."""
    edges, power = [0, 1, 2, 3], 4
    while edges[-1] < len(values):
        edges += [power, power * 3 // 2]
        power *= 2
    edges = sorted({min(edge, len(values)) for edge in edges})
    pairs = list(itertools.pairwise(edges))
    means = [math.exp(sum(map(math.log, values[a:b])) / (b - a)) for a, b in pairs]
    return [(a + b) / 2 for a, b in pairs], means


def picture(found: dict[str, Any], folder: Path) -> Path:
    """Perplexity by position, before and after the tuning, as SVG; the same figures give the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    from yanmo.evaluate.figures import LINES

    matplotlib.rcParams.update({"svg.hashsalt": "long_context", "svg.fonttype": "none", "font.size": 9})
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    width = LENGTH // 4
    for panel, stage, title in zip(panels, STAGES, ("as trained", "after a short tuning at 8 times the length")):
        for index, name in enumerate(name for name in VARIANTS if name in found):
            places, curve = half_octaves(found[name][stage]["by_position"])
            panel.plot([width * place for place in places], curve, color=LINES[index], linewidth=1.5, marker=".", label=name)
        panel.axvline(LENGTH, color="#6a645c", linewidth=0.8, dashes=(4, 3))
        panel.set_title(title, fontsize=9, loc="left")
        panel.set_xscale("log", base=2)
        panel.set_xticks([LENGTH * times for times in (0.25, 0.5, *TIMES)], [str(int(LENGTH * t)) for t in (0.25, 0.5, *TIMES)])
        panel.set_xlabel("position in the text (tokens; trained up to the dashed line)")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("perplexity")
    panels[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the curves, which may be anywhere
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "long_context.svg"
    with files.atomic(place) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return place


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_context", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--work", type=Path, help="where models and figures are kept; by default nowhere")
    parser.add_argument("--figure", type=Path, help="folder that gets long_context.svg")
    parser.add_argument("--only", nargs="*", choices=[*VARIANTS, "stream"], default=[*VARIANTS, "stream"])
    parser.add_argument("--toy", action="store_true", help="a few steps of everything: does it run")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = results(folder, given.only, given.toy)
    for entry in lines(found):
        if given.json:
            print(json.dumps(entry))
        else:
            ratio = "" if entry["ratio"] is None else f"  {entry['ratio']:.3f} of {entry['peer']}"
            print(f"{entry['case']:<40} {entry['ours']:>10,.4g} {entry['unit']}{ratio}")
    if given.figure:
        print(picture({name: figures for name, figures in found.items() if name != "stream"}, given.figure))


if __name__ == "__main__":
    main()
