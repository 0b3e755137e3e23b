"""Small corpora made for the tests: real letters of several scripts, and a way to run sources and steps over them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.data import Document
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.corpus.dataset import Dataset
from yanmo.corpus.engines.local import LocalEngine
from yanmo.corpus.step import apply

OUTPUTS = ("documents", "dropped", "quarantined", "stats.json")
ENGLISH = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "wise", "owls", "watch", "from", "an", "old", "oak", "tree", "and", "ships", "sail", "slowly", "past", "the", "harbour", "where", "children", "play", "under", "grey", "clouds", "of", "autumn", "as", "bells", "ring", "in", "distant", "towers", "above", "narrow", "streets"]
CHINESE = "却说曹操引军追赶刘备至江边见长坂桥上一人横矛立马厉声大喝众皆失色天下大势分久必合合久必分青山依旧在几度夕阳红古今多少事都付笑谈中"
ODD = ["emoji 👩‍👩‍👧‍👦 and 🏳️‍🌈 flags", "e\u0301tude, nai\u0308ve, A\u030a", "混排 mixed 文字 with ｆｕｌｌ-width，标点！", "नमस्ते दुनिया, שלום, สวัสดีชาวโลก, こんにちは"]  # fmt: skip


def english(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(ENGLISH) + str(rng.randrange(100)) * (rng.random() < 0.5) for _ in range(words))


def chinese(rng: random.Random, characters: int) -> str:
    pieces = [rng.choice(CHINESE) + ("，" if rng.random() < 0.1 else "") for _ in range(characters)]
    return "".join(pieces) + "。"


def texts(count: int, seed: int = 0) -> list[str]:
    """English, Chinese and odd texts in turn, no two alike."""
    rng = random.Random(seed)
    return [
        english(rng, rng.randint(5, 60)) if i % 2 else chinese(rng, rng.randint(10, 120)) if i % 5 else f"{i} {ODD[i // 5 % 4]}"
        for i in range(count)
    ]


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Rows as JSON lines; a str is a line as it is, bytes too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as handle:
        for row in rows:
            line = row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)).encode()
            handle.write(line + b"\n")


def read(source: dict[str, Any]) -> list[Document]:
    """Every document and quarantined row of one source."""
    made = create("source", source)
    return [doc for shard in made.shards() for doc in made.read(shard)]


def run(folder: Path, source: Any, steps: list[Any] | None = None, workers: int = 1) -> list[Document]:
    """What a source's documents are after the steps."""
    sources = [create("source", item) for item in (source if isinstance(source, list) else [source])]
    with LocalEngine(workers=workers).session(folder, Console(quiet=True)) as session:
        return list(apply([create("step", step) for step in steps or []], session.read(sources)).collect())


def made(source: Any, run: str, **settings: Any) -> Path:
    """The folder of a finished corpus stage."""
    stage = {"source": source, **settings}
    execute(parse({"name": "x", "stages": [{"corpus": stage}]}, Place()), run, console=Console(quiet=True))
    return Path(run) / "corpus"


def outputs(folder: Path) -> dict[str, str]:
    """The hashes of what a corpus stage gives."""
    paths = [path for name in OUTPUTS for path in ([folder / name] if (folder / name).is_file() else sorted((folder / name).rglob("*")))]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def dataset(folder: Path, source: Any, workers: int = 1) -> Any:
    """A session over one source, as a context that gives its dataset."""
    from contextlib import contextmanager

    @contextmanager
    def opened():
        with LocalEngine(workers=workers).session(folder, Console(quiet=True)) as session:
            found: Dataset = session.read([create("source", source)])
            yield found

    return opened()


def small_shards(monkeypatch: Any, size: int = 2000) -> None:
    """Cuts files into shards and partitions of about `size` bytes, so that little data makes many of them."""
    from yanmo.corpus import source
    from yanmo.corpus.engines import session
    from yanmo.corpus.sources import parquet

    for module in (source, session, parquet):
        monkeypatch.setattr(module, "SHARD_BYTES", size)
