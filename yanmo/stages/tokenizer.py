"""The tokenizer stage: a vocabulary learned from the corpus's training split, never from what is held out.

    tokenizer/tokenizer.json  tokenizer_config.json     what `transformers` loads too
              plan.json                                 the size and the sample, where the recipe left them open

A recipe writes the tokenizer's settings as the stage's own: `tokenizer: {type: bpe, size: 4096}`, `tokenizer: characters`,
or `tokenizer: {}`, from which all of it follows. Nothing here is timed: the plan depends on the text's bytes and the
budget's minutes alone, so that the same recipe makes the same vocabulary on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import xxhash
from pydantic import Field

from yanmo.core.config import PartOf
from yanmo.core.console import Bar
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.text.tokenizer import TokenizerPart

BLOCK = 1 << 12  # characters of a document that are taken or left together
BYTES_A_MINUTE = 2_000_000  # of the sample, in a budget


class TokenizerStage(Stage):
    """Trains a tokenizer on at most `train_bytes` of the corpus's training text, a sample spread over all of it by hash.

    Counting pieces takes memory. Measured for 8,192 tokens: 20 MB of Chinese verse, where hardly a line comes twice, took
    1.8 GB and 45 seconds of one core, 11 MB of English speeches 0.1 GB and 2 seconds.
    """

    takes: ClassVar[tuple[str, ...]] = ("corpus",)
    gives: ClassVar[str] = "tokenizer"
    wraps: ClassVar[str] = "tokenizer"

    type: str = "tokenizer"
    tokenizer: Annotated[TokenizerPart, PartOf("tokenizer")] = Field(default_factory=lambda: create("tokenizer", "bpe"))
    train_bytes: int = Field(default=20_000_000, ge=1)
    corpus: str | None = None  # an earlier stage or a path; None: the nearest earlier corpus

    @property
    def weight(self) -> float:
        return 0.03  # above 0: a budget's minutes decide the sample and, where it is open, the size

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        from yanmo.corpus.documents import iterate

        corpus = run.take("corpus")
        plan = run.plan(folder, lambda: self._plan(run, corpus))
        share = min(plan["sample_bytes"] / max(plan["text_bytes"], 1), 1.0)
        documents = iterate(corpus, split="train", columns=("id", "text"))
        try:
            with run.console.bar("tokenizer", plan["sample_bytes"], "bytes") as bar:
                sample = _sample(documents, share, run.seed_for("tokenizer"), plan["sample_bytes"], bar)
                made = self.tokenizer.train(_told(sample, run), at_most=plan["size"])
        except DataError as error:  # a part knows its setting's name, the stage knows its own
            where = f"{run.stage}.{error.where}" if str(error.where) in type(self.tokenizer).model_fields else error.where
            raise DataError(where, error.expected, error.given, error.remedy) from None
        made.save(folder)
        for note in made.notes:
            run.console.log(note)
        run.console.log(text("tokenizer: {size} tokens from {bytes} bytes of text", size=made.size, bytes=int(bar.done)))
        return {"tokenizer": "tokenizer.json", "config": "tokenizer_config.json"}

    def _plan(self, run: Run, corpus: Path) -> dict[str, Any]:
        minutes = run.budget.minutes if run.budget else None
        text_bytes = _text_bytes(corpus)
        if not text_bytes:
            raise DataError(str(corpus), text("text in the training split"), text("none"))
        limit = self.train_bytes if minutes is None else min(self.train_bytes, max(int(BYTES_A_MINUTE * minutes), 1))
        return {"text_bytes": text_bytes, "sample_bytes": min(text_bytes, limit),
                "size": self.tokenizer.open_size(text_bytes, minutes)}  # fmt: skip


def _text_bytes(corpus: Path) -> int:
    """The UTF-8 bytes of the training split: as the corpus stage counted them, else counted now."""
    from yanmo.corpus.documents import iterate, stats

    splits = stats(corpus)["splits"]
    if splits:
        return splits.get("train", {}).get("bytes", 0)
    return sum(len(row["text"].encode("utf-8", "replace")) for row in iterate(corpus, split="train", columns=("text",)))


def _told(sample: Iterator[str], run: Run) -> Iterator[str]:
    """The sample; says when all of it is read, as what follows (the merges of BPE) shows no progress of its own."""
    yield from sample
    run.console.log(text("tokenizer: text read, learning the vocabulary"))


def _sample(documents: Iterator[dict[str, Any]], share: float, seed: int, most: int, bar: Bar) -> Iterator[str]:
    """About `share` of the documents' blocks: the first, and those that the hash of document and place chooses, up to
    `most` bytes; all documents whole where all fit."""
    taken = 0
    for row in documents:
        content = row["text"]
        for start in [0] if share == 1.0 else range(0, len(content), BLOCK):
            if share < 1.0:
                place = xxhash.xxh3_64_intdigest(f"{row['id']}/{start}".encode(), seed=seed)
                if taken and place >= share * 2**64:
                    continue
                if taken >= most:
                    return
            chosen = content if share == 1.0 else content[start : start + BLOCK]
            size = len(chosen.encode("utf-8", "replace"))
            taken += size
            bar.advance(size)
            yield chosen
