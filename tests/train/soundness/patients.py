"""Trainings for the doctor's tests: real stages on small real text, English and Chinese."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from yanmo.core.console import Console
from yanmo.core.data import content_id
from yanmo.core.registry import create
from yanmo.core.run import Run

ENGLISH = [
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, I thought I would sail about.",
    "It is a way I have of driving off the spleen and regulating the circulation, café, e\u0301te\u0301, whenever it is a damp November. 🐋",
    "There now is your insular city of the Manhattoes, belted round by wharves as Indian isles by coral reefs; commerce surrounds it.",
    "Circumambulate the city of a dreamy Sabbath afternoon. Go from Corlears Hook to Coenties Slip, and from thence, by Whitehall, northward.",
    "But these are all landsmen; of week days pent up in lath and plaster, tied to counters, nailed to benches, clinched to desks.",
]
CHINESE = [
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚汉分争，又并入于汉；汉朝自高祖斩白蛇而起义，一统天下。",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。白日依山尽，黄河入海流。欲穷千里目，更上一层楼。春眠不觉晓，处处闻啼鸟。",
    "建宁二年四月望日，帝御温德殿。方升座，殿角狂风骤起，只见一条大青蛇，从梁上飞将下来，蟠于椅上。帝惊倒，左右急救入宫。",
    "却说那玄德年已二十八岁矣。当日见了榜文，慨然长叹。随后一人厉声言曰：大丈夫不与国家出力，何故长叹？玄德回视其人。",
    "国破山河在，城春草木深。感时花溅泪，恨别鸟惊心。烽火连三月，家书抵万金。白头搔更短，浑欲不胜簪。模型 model 训练 👩‍🚀。",
]
SMALL = {"type": "transformer", "depth": 1, "width": 32, "heads": 2}
TRAIN = {"steps": 9, "batch_tokens": 256, "validate_every": 3}


def text(count: int, language: str = "both") -> list[str]:
    """Documents of which no two share a stretch: words of the passages in an order of each one's own."""
    import random

    made = []
    for index in range(count):
        passages = ENGLISH if language == "en" or (language == "both" and index % 2) else CHINESE
        passage = passages[index // 2 % len(passages)]
        pieces = passage.split(" ") if passages is ENGLISH else list(passage)
        random.Random(index).shuffle(pieces)
        made.append((" " if passages is ENGLISH else "").join(pieces))
    return made


def corpus(folder: Path, train: list[str], validation: list[str]) -> Path:
    texts = [*train, *validation]
    split = ["train"] * len(train) + ["validation"] * len(validation)
    columns = {"id": [f"{content_id(t)}{i}" for i, t in enumerate(texts)], "text": texts, "split": split, "source": ["s"] * len(texts),
               "language": [""] * len(texts)}  # fmt: skip
    (folder / "documents").mkdir(parents=True)
    parquet.write_table(pa.table(columns), folder / "documents" / "0.parquet")
    (folder / "stats.json").write_text(json.dumps({
        "sources": [{"name": "s", "language": None, "licence": None, "weight": 1.0}],
        "splits": {name: {"bytes": sum(len(t.encode()) for t, s in zip(texts, split) if s == name)} for name in ("train", "validation")},
    }))  # fmt: skip
    return folder


def pretraining(folder: Path, train: list[str], validation: list[str], /, *, learned: list[str] | None = None,
                tokenizer="characters", **stage):  # fmt: skip
    """The patient of a 'pretrain' stage on these texts; `learned`: what the tokenizer is made of, where that is another text."""
    made = create("tokenizer", tokenizer).train(iter(learned or train))
    made.save(folder / "tokenizer")
    inputs = {"corpus": [corpus(folder / "corpus", train, validation)], "tokenizer": [folder / "tokenizer"]}
    run = Run(folder, 1, Console(quiet=True), stage="pretrain", inputs=inputs)
    settings = {"model": SMALL, "objective": {"type": "causal", "context": 32}, "train": TRAIN, **stage}
    return create("stage", {"type": "pretrain", **settings}).patient(run, folder / "pretrain", time.monotonic())


def labelled(folder: Path, train, validation, test=(), /, *, tokenizer="characters", learned=None, task=None, model=None, **train_settings):
    """The patient of a 'finetune' stage on rows of (text, label)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for split, rows in (("train", train), ("validation", validation), ("test", test)):
        if rows:
            paths[split] = str(folder / f"{split}.jsonl")
            lines = [json.dumps({"text": body, "label": label}, ensure_ascii=False) + "\n" for body, label in rows]
            Path(paths[split]).write_text("".join(lines), encoding="utf-8")
    made = create("tokenizer", tokenizer).train(iter(learned or [body for body, _ in train]))
    made.save(folder / "tokenizer")
    run = Run(folder, 1, Console(quiet=True), stage="finetune", inputs={"tokenizer": [folder / "tokenizer"]})
    shares = {split: 0.0 for split in ("validation", "test") if split not in paths}
    stage = create("stage", {"type": "finetune", "model": model or {**SMALL, "context": 64},
                             "task": {"type": "classify", "path": paths, **shares, **(task or {})},
                             "train": {"epochs": 3, **train_settings}})  # fmt: skip
    return stage.patient(run, folder / "finetune", time.monotonic())
