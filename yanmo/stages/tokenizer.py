"""The tokenizer stage: a vocabulary learned from the corpus's training split, never from what is held out.

    tokenizer/tokenizer.json  tokenizer_config.json     what `transformers` loads too
              plan.json                                 the size and the sample, where the recipe left them open
              extension.json                            of one that extends another: what that does to held-out text

A recipe writes the tokenizer's settings as the stage's own: `tokenizer: {type: bpe, size: 4096}`, `tokenizer: characters`,
or `tokenizer: {}`, from which all of it follows; `tokenizer: {type: extended, base: PATH, add: 4000}` adds to another's.
Nothing here is timed: the plan depends on the text's bytes and the budget's minutes alone, so that the same recipe makes the
same vocabulary on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import xxhash
from pydantic import Field

from yanmo.core import files
from yanmo.core.config import PartOf
from yanmo.core.console import Bar
from yanmo.core.errors import DataError, RequestError
from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.text.bpe import letters
from yanmo.text.extend import ExtendedTokenizer
from yanmo.text.loading import FILES
from yanmo.text.tokenizer import Tokenizer, TokenizerPart

BLOCK = 1 << 12  # characters of a document that are taken or left together
BYTES_A_MINUTE = 2_000_000  # of the sample, in a budget
MEASURED = 2_000_000  # bytes of held-out text on which an extension is held against its base
EXTENSION = "extension.json"


class TokenizerStage(Stage):
    """Trains a tokenizer on at most `train_bytes` of the corpus's training text, a sample spread over all of it by hash.

    What that takes in memory is bounded by the tokenizer's own `memory_mb`, whatever the text: of one with more kinds of pieces
    than fit (Chinese verse, where hardly a line comes twice), the rarest give way, and that is said.
    """

    takes: ClassVar[tuple[str, ...]] = ("corpus", "base")
    optional: ClassVar[frozenset[str]] = frozenset({"base"})
    named: ClassVar[dict[str, tuple[str, ...]]] = {"base": ("tokenizer", "model")}  # only what extends another has one
    gives: ClassVar[str] = "tokenizer"
    wraps: ClassVar[str] = "tokenizer"

    type: str = "tokenizer"
    tokenizer: Annotated[TokenizerPart, PartOf("tokenizer")] = Field(default_factory=lambda: create("tokenizer", "bpe"))
    train_bytes: int = Field(default=20_000_000, ge=1)
    corpus: str | None = None  # an earlier stage or a path; None: the nearest earlier corpus

    @property
    def base(self) -> str | None:
        """The stage or the path whose tokenizer is extended; None for one that is made anew."""
        return getattr(self.tokenizer, "base", None)

    @property
    def weight(self) -> float:
        return 0.03  # above 0: a budget's minutes decide the sample and, where it is open, the size

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        from yanmo.corpus.documents import iterate

        corpus, part = run.take("corpus"), self.tokenizer
        base = None
        if isinstance(part, ExtendedTokenizer):
            base = base_of(run)
            part = part.bind(base)
        plan = run.plan(folder, lambda: self._plan(run, corpus, part))
        share = min(plan["sample_bytes"] / max(plan["text_bytes"], 1), 1.0)
        documents = iterate(corpus, split="train", columns=("id", "text"))
        try:
            with run.console.bar("tokenizer", plan["sample_bytes"], "bytes") as bar:
                sample = _sample(documents, share, run.seed_for("tokenizer"), plan["sample_bytes"], bar)
                made = part.train(_told(sample, run), at_most=plan["size"])
        except DataError as error:  # a part knows its setting's name, the stage knows its own
            where = f"{run.stage}.{error.where}" if str(error.where) in type(self.tokenizer).model_fields else error.where
            raise DataError(where, error.expected, error.given, error.remedy) from None
        made.save(folder)
        for note in made.notes:
            run.console.log(note)
        run.console.log(text("tokenizer: {size} tokens from {bytes} bytes of text", size=made.size, bytes=int(bar.done)))
        outputs = {"tokenizer": "tokenizer.json", "config": "tokenizer_config.json"}
        if base is not None:
            files.write_json(folder / EXTENSION, _gain(run, corpus, base, made))
            outputs["extension"] = EXTENSION
        return outputs

    def _plan(self, run: Run, corpus: Path, part: TokenizerPart) -> dict[str, Any]:
        minutes = run.budget.minutes if run.budget else None
        text_bytes = _text_bytes(corpus)
        if not text_bytes:
            raise DataError(str(corpus), text("text in the training split"), text("none"))
        limit = self.train_bytes if minutes is None else min(self.train_bytes, max(int(BYTES_A_MINUTE * minutes), 1))
        return {"text_bytes": text_bytes, "sample_bytes": min(text_bytes, limit),
                "size": part.open_size(text_bytes, minutes, letters(_first(_rows(corpus), MEASURED)))}  # fmt: skip


def base_of(run: Run) -> Tokenizer:
    """The tokenizer of the stage or the path that `base` names, a model's or one by itself."""
    place = run.take("base")
    if (place.is_file() and place.suffix != ".gguf") or any((place / name).is_file() for name in FILES):
        return Tokenizer.load(place)
    from yanmo.models.store import read_tokenizer, resolve

    found = read_tokenizer(resolve(place))
    if found is None:
        raise RequestError(f"{run.stage}.base", text("a model directory with its tokenizer"), str(place))
    return found


def _gain(run: Run, corpus: Path, base: Tokenizer, made: Tokenizer) -> dict[str, Any]:
    """How many bytes a token stands for before and after, by language, on held-out text (on training text where none is)."""
    from yanmo.corpus.documents import iterate
    from yanmo.text.report import density

    for split in ("validation", "train"):
        texts = list(_first(iterate(corpus, split=split, columns=("text",)), MEASURED))
        if texts:
            break
    before, after = density(base, texts), density(made, texts)
    languages = {}
    for kind in before:
        values = {name: round(found[kind]["bytes_per_token"], 4) for name, found in (("before", before), ("after", after))}
        languages[kind] = {"bytes": before[kind]["bytes"], **values}
        shown = {name: f"{value:.2f}" for name, value in values.items()}
        run.console.log(text("{stage}: bytes per token of {split} text ({language}): {before} → {after}", stage=run.stage,
                             split=split, language=kind, **shown))  # fmt: skip
    return {"base_size": base.size, "size": made.size, "split": split, "bytes_per_token": languages}


def _rows(corpus: Path) -> Iterator[dict[str, Any]]:
    from yanmo.corpus.documents import iterate

    return iterate(corpus, split="train", columns=("text",))


def _first(rows: Iterator[dict[str, Any]], most: int) -> Iterator[str]:
    """Texts of `most` bytes, about."""
    taken = 0
    for row in rows:
        if row["text"] and taken < most:
            taken += len(row["text"].encode("utf-8", "replace"))
            yield row["text"]


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
