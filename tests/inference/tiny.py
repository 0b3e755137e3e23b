"""Small real models over one bilingual tokenizer, made in about a second, for the tests of inference and of the server."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from yanmo.core import files
from yanmo.core.manifest import MANIFEST, record
from yanmo.inference.engine import Engine, Request
from yanmo.inference.sampling import sampling
from yanmo.models.base import Inputs, LanguageModel
from yanmo.models.classifier import Classifier
from yanmo.models.ngram import NgramModel
from yanmo.models.recurrent import GruModel, LstmModel, RnnModel
from yanmo.models.store import save
from yanmo.models.transformer import TransformerModel
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.tokenizer import Tokenizer

TEXTS = [
    "The ink stick is ground on the stone with a little water, slowly, until the ink is black and smooth.",
    "Once upon a time there was a scholar who ground his ink before he wrote, and thought while he ground it.",
    "He wrote by the light of the window. When the light was gone he put down his brush and slept.",
    "The brush, the ink, the paper and the stone are called the four treasures of the study.",
    "研墨是写字之前的功夫。墨要慢慢地磨，心要静静地想。",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "笔墨纸砚，称为文房四宝。砚台里放一点水，把墨锭轻轻地磨。",
    "She answered: 你好, nice to meet you 🙂! Café and naïve are words with marks; 👩‍👩‍👧 is a family.",
]  # fmt: skip
KINDS = ("ngram", "lstm", "transformer")
RECURRENT = {"rnn": RnnModel, "gru": GruModel, "lstm": LstmModel}


@cache
def tokenizer() -> Tokenizer:
    return BpeTokenizer(size=400).train(TEXTS * 2)


@cache
def model(kind: str, context: int = 96):
    """The n-gram is fitted to TEXTS; the others have random parameters."""
    tok, rng = tokenizer(), torch.Generator().manual_seed(1)
    if kind == "ngram":
        stream = [token for line in TEXTS * 3 for token in (tok.eos_id, *tok.encode(line))]
        return NgramModel(order=4).fit(SimpleNamespace(tokens=np.array(stream, dtype=np.uint16)), tok, Path())
    part = RECURRENT[kind](width=48) if kind in RECURRENT else TransformerModel(depth=2, width=48, heads=4, kv_heads=2, context=context)
    built = part.build(tok, rng).eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if parameter.ndim > 1 and not name.startswith("rnn.weight_hh"):  # a tanh network would be chaotic: rounding grows
                parameter *= 4  # sharper distributions than a fresh model has, so that a wrong state shows
    return built


@cache
def classifier() -> Classifier:
    rng = torch.Generator().manual_seed(2)
    made = Classifier(TransformerModel(depth=2, width=48, heads=4, context=32).build(tokenizer(), rng), 3).eval()
    made.initialise(rng)
    return made


LABELS = ["light", "music", "天气"]


def make_run(folder: Path, context: int = 96) -> Path:
    """A run's directory with four finished stages: ngram, lstm, transformer, and the classifier last."""
    for kind in KINDS:
        save(folder / kind / "model", model(kind, context) if kind == "transformer" else model(kind), tokenizer())
    save(folder / "finetune" / "model", classifier(), tokenizer(), labels=LABELS)
    stages = [*KINDS, "finetune"]
    for name in stages:
        files.write_json(folder / name / MANIFEST, {"stage": name, **record(folder / name, {"model": "model"})})
    files.write_text(
        folder / "recipe.yaml", "name: tiny\nstages:\n" + "".join(f"  - {{name: {s}, pretrain: {{}}}}\n" for s in stages)
    )
    return folder


def engine_agrees(subject: LanguageModel) -> None:
    """Three requests side by side in an engine, greedy: each token is what a whole pass over the text so far finds likeliest."""
    tok = tokenizer()
    engine = Engine(subject, tok, slots=3, capacity=96)
    prompts = [[tok.eos_id, *tok.encode(prompt)] for prompt in ("研墨", "The ink", "春眠不觉晓")]
    settings = sampling(max_tokens=8, temperature=0, ignore_eos=True)
    for known, answer in zip(prompts, engine.complete([Request(list(ids), settings) for ids in prompts])):
        assert len(answer.ids) == 8
        for token in answer.ids:
            with torch.no_grad():
                logits = subject(Inputs(torch.tensor([known]))).logits[0, -1]
            assert float(logits.max() - logits[token]) < 1e-3
            known.append(token)
