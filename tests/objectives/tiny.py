"""Texts, tokenizers and models that the objectives' tests share."""

from __future__ import annotations

from functools import cache

import torch

from yanmo.core.data import Row
from yanmo.core.registry import create, names
from yanmo.models.classifier import Classifier, MultiClassifier
from yanmo.models.embedder import Embedder
from yanmo.models.reader import Reader
from yanmo.models.tagger import Tagger
from yanmo.objectives.base import Context

ENGLISH = (
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, I thought I would "
    "sail about a little. It wasn't Mr. Starbuck's idea! “Why?” he asked. The researchers researched unresearched research."
)
CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚汉分争！研究生命的起源？人工智能研究。"
MIXED = "Cafe\u0301 naïve 🐋👩‍🚀 e\u0301te\u0301 — 模型 model 训练 GPT-4 训练。\n\nहिन्दी ภาษาไทย ひらがな 한국어 3.14 don't 👍🏽!"
TEXTS = [ENGLISH, CHINESE, MIXED]
SENTINELS = [f"<extra_id_{number}>" for number in range(40)]
MODELS = {
    "causal": {"architecture": "decoder"},
    "prefix": {"architecture": "decoder"},
    "supervised": {"architecture": "decoder"},
    "multi_label": {"architecture": "decoder"},
    "masked": {"architecture": "encoder"},
    "tagging": {"architecture": "encoder"},
    "extraction": {"architecture": "encoder"},
    "contrastive": {"architecture": "encoder"},
    "answer": {"architecture": "decoder"},
    "pairs": {"architecture": "encoder", "embedding": {"types": 2}, "head": {"pooler": True, "pairs": True}},
    "permuted": {"architecture": "encoder", "embedding": {"query": True}},
    "span_corruption": {"architecture": "encoder-decoder"},
    "denoise": {"architecture": "encoder-decoder"},
}

ALIGNING = ("dpo", "reward", "grpo", "ppo", "rejection", "distill")  # on pairs, prompts and a teacher: see bandit.py
ROWS = [name for name in names("objective") if name not in ALIGNING]  # the objectives that learn rows as they stand
HEADS = {"supervised": Classifier, "multi_label": MultiClassifier, "tagging": Tagger, "extraction": Reader,
         "contrastive": Embedder}  # fmt: skip

STREAMS = [name for name in ROWS if name not in HEADS and name != "answer"]  # those that learn rows of a stream of text


@cache
def tokenizer(kind="characters", framed=False):
    """With a mask and sentinels; `framed`: and with [CLS] and [SEP]."""
    special = ["<mask>", *SENTINELS, *(("[CLS]", "[SEP]") if framed else ())]
    settings = {"characters": {"min_count": 1}, "bpe": {"size": 420 + len(special), "min_frequency": 1}}[kind]
    return create("tokenizer", {"type": kind, "special": special, **settings}).train(TEXTS)


def bound(name, of=None, **settings):
    return create("objective", {"type": name, **settings}).bind(Context(of or tokenizer()))


def build(name, of=None, context=96, seed=0):
    """A small Transformer of the kind that the objective trains."""
    part = create("model", {"type": "transformer", "depth": 2, "width": 32, "heads": 2, **MODELS[name]})
    return part.build(of or tokenizer(), torch.Generator().manual_seed(seed), context)


def headed(name, labels=2, **settings):
    """The same with the head that the objective trains, if it trains one."""
    made, draws = build(name, **settings), torch.Generator().manual_seed(0)
    if name not in HEADS:
        return made
    if name == "contrastive":
        return Embedder(made)
    model = Reader(made) if name == "extraction" else HEADS[name](made, labels)
    model.initialise(draws)
    return model


def row(name, tokens, label, example=""):
    """A row with a label of the kind that the objective learns."""
    given = {"multi_label": [float(label == 0), float(label == 1)], "tagging": [label] * len(tokens),
             "extraction": (min(label, len(tokens) - 1), len(tokens) - 1), "contrastive": tokens[::-1]}  # fmt: skip
    return Row(tokens, label=given.get(name, label), example=example)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)
