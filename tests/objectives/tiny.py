"""Texts, tokenizers and models that the objectives' tests share."""

from __future__ import annotations

from functools import cache

import torch

from yanmo.core.registry import create
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
    "masked": {"architecture": "encoder"},
    "pairs": {"architecture": "encoder", "embedding": {"types": 2}, "head": {"pooler": True, "pairs": True}},
    "permuted": {"architecture": "encoder", "embedding": {"query": True}},
    "span_corruption": {"architecture": "encoder-decoder"},
    "denoise": {"architecture": "encoder-decoder"},
}


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


def rng(seed=0):
    return torch.Generator().manual_seed(seed)
