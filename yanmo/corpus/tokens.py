"""A corpus as token ids on disk: written once for a tokenizer, mapped into memory by every model that needs it.

    tokens/CORPUS-TOKENIZER/
      tokens.json                     {dtype, size, border, splits: {name: {documents, tokens, bytes}}, sources}
      train/       tokens.bin         uint16 where the vocabulary has at most 65,536 entries, else uint32; little endian
                   documents.parquet  id, first, count, bytes, source, language
      validation/  …

Every document is its border token (`<|endoftext|>`) and then its tokens; `first` is where the border lies and `count`
includes it, so documents follow each other without a gap. `bytes` are those of the text in UTF-8.

Every document stands there once. How often it is trained on is a matter of the order in which rows are seen: a source's
`weight` of 2 shows each of its rows twice an epoch, 0.5 every other one, the other half in the next epoch (`mixture.py`).
What counts the stream instead of reading rows takes it from `weighted`. Held-out splits are never weighted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import xxhash
from numpy.typing import NDArray

from yanmo.core import files
from yanmo.core.errors import CorruptError, RequestError
from yanmo.core.manifest import digest_of
from yanmo.core.messages import text
from yanmo.corpus import documents
from yanmo.corpus.mixture import Mixing, Mixture
from yanmo.corpus.order import RowOrder

if TYPE_CHECKING:
    from yanmo.core.console import Bar, Console
    from yanmo.core.run import Run
    from yanmo.text.tokenizer import Tokenizer

__all__ = ["RowOrder", "Split", "TokenShards", "for_run"]

SPLITS = ("train", "validation", "test")
BATCH_ROWS, BATCH_CHARACTERS = 512, 1 << 20
SCHEMA = pa.schema([("id", pa.string()), ("first", pa.int64()), ("count", pa.int64()), ("bytes", pa.int64()),
                    ("source", pa.string()), ("language", pa.string())])  # fmt: skip


class Split:
    """`tokens`: (N,) ids of every document, one behind the other; `len` is N.

    `documents`: arrays of one entry a document, in the order of the tokens: 'id', 'first' (where its border lies), 'count'
    (of its tokens, border included), 'bytes', 'source', 'language' ('' where it is not known). `weights`: of sources, where
    it is not 1."""

    def __init__(self, folder: Path, dtype: str, weights: Mapping[str, float] | None = None):
        self.folder = folder
        self.weights = {name: weight for name, weight in (weights or {}).items() if weight != 1}
        size = (folder / "tokens.bin").stat().st_size
        # numpy cannot map a file of no bytes
        self.tokens: NDArray[Any] = np.memmap(folder / "tokens.bin", dtype, "r") if size else np.zeros(0, dtype)
        table = parquet.read_table(folder / "documents.parquet").to_pydict()
        self.documents: dict[str, NDArray[Any]] = {
            name: np.array([value or "" for value in values], str) if name in ("id", "source", "language")
            else np.array(values, np.int64) for name, values in table.items()}  # fmt: skip
        total = int(self.documents["count"].sum())
        if total != len(self.tokens):
            raise CorruptError(str(folder), text("{count} tokens", count=total), str(len(self.tokens)))

    def __len__(self) -> int:
        return len(self.tokens)

    def order(self, context: int, seed: int, mixing: Mixing | None = None, overlap: int = 1) -> RowOrder | Mixture:
        """In which order rows of `context` tokens (and `overlap` of the next) are seen: each once an epoch, or each source as
        its weight or `mixing` says.

        A row belongs to the source of its first token."""
        count = row_count(len(self), context, overlap)
        if not self.weights and mixing is None:
            return RowOrder(count, seed)
        sources = self.documents["source"]
        owners = sources[np.searchsorted(self.documents["first"], np.arange(count) * context, side="right") - 1]
        sizes = dict.fromkeys(dict.fromkeys(sources.tolist()), 0)  # in the corpus's order
        sizes |= dict(zip(*(column.tolist() for column in np.unique(owners, return_counts=True))))
        borders = int((owners[1:] != owners[:-1]).sum())
        assert borders == sum(rows > 0 for rows in sizes.values()) - 1, "the documents of a source follow each other"
        quotas = self._quotas(sizes, mixing)
        return Mixture(tuple(sizes.values()), tuple(quotas.values()), seed)

    def weighted(self, mixing: Mixing | None = None) -> NDArray[Any]:
        """The tokens with each document as often as its source's weight or `mixing` says, for what counts the whole stream."""
        if not self.weights and mixing is None:
            return self.tokens
        sizes = self._sizes()
        weights = {name: quota / sizes[name] for name, quota in self._quotas(sizes, mixing).items()}
        names = zip(self.documents["id"].tolist(), self.documents["source"].tolist())
        times = [repeats(id_, weights[source]) for id_, source in names]
        firsts, counts = self.documents["first"].tolist(), self.documents["count"].tolist()
        pieces = [self.tokens[first : first + count] for first, count, n in zip(firsts, counts, times) for _ in range(n)]
        return np.concatenate(pieces) if pieces else self.tokens[:0]

    def epoch_tokens(self, mixing: Mixing | None = None) -> int:
        """How many tokens an epoch has."""
        return len(self) if not self.weights and mixing is None else sum(self._quotas(self._sizes(), mixing).values())

    def _sizes(self) -> dict[str, int]:
        """The tokens of each source."""
        names, codes = np.unique(self.documents["source"], return_inverse=True)
        sums = np.bincount(codes, self.documents["count"], len(names))
        return {name: int(size) for name, size in zip(names.tolist(), sums.tolist())}

    def _quotas(self, sizes: dict[str, int], mixing: Mixing | None) -> dict[str, int]:
        """What an epoch has of each source, for what there is of it."""
        if mixing is None:
            return {name: max(1, round(size * self.weights.get(name, 1.0))) if size else 0 for name, size in sizes.items()}
        found = mixing.quotas(sizes)
        if not any(found.values()):
            raise RequestError("mixture.weights", text("a weight above 0 for a source with text"), text("none"))
        return found

    def packing(self, context: int, overlap: int = 1) -> dict[str, Any]:
        """What becomes of the tokens in rows of `context`: documents are packed behind each other without a gap, so that none is
        dropped; those in a row behind the one in which their document begins do not see its beginning."""
        first, count = self.documents["first"], self.documents["count"]
        behind = np.maximum(first + count - (first // context + 1) * context, 0)
        rows, total = row_count(len(self), context, overlap), max(len(self), 1)
        return {
            "rows": rows, "tokens": len(self), "dropped": 0, "padding": rows * context - max(len(self) - overlap, 0),
            "documents": len(first), "documents_cut": int((behind > 0).sum()),
            "documents_longer_than_a_row": int((count > context).sum()), "tokens_behind_a_cut": int(behind.sum()),
            "share_dropped": 0.0, "share_behind_a_cut": round(int(behind.sum()) / total, 6),
        }  # fmt: skip


def row_count(tokens: int, context: int, overlap: int = 1) -> int:
    """Rows that move on by `context` tokens and hold every token; with an `overlap` of 1, each but the first as a target."""
    return max(0, -(-(tokens - overlap) // context))


class TokenShards:
    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.about = folder, about
        self.size: int = about["size"]
        self.border: int = about["border"]
        self._splits: dict[str, Split] = {}

    @property
    def splits(self) -> list[str]:
        """The splits that have documents."""
        return [name for name, amount in self.about["splits"].items() if amount["documents"]]

    def split(self, name: str) -> Split:
        """'train', 'validation' or 'test'; one without documents is empty."""
        if name not in self._splits:
            weights = {source["name"]: source["weight"] for source in self.about["sources"]} if name == "train" else {}
            self._splits[name] = Split(self.folder / name, self.about["dtype"], weights)
        return self._splits[name]

    @classmethod
    def open(cls, folder: Path) -> TokenShards:
        return cls(Path(folder), files.read_json(Path(folder) / "tokens.json"))

    @classmethod
    def build(cls, corpus: Path, tokenizer: Tokenizer, folder: Path, console: Console) -> TokenShards:
        """Encodes every document of `corpus` (a corpus stage's folder or its documents) into `folder`."""
        dtype = "<u2" if tokenizer.size <= 1 << 16 else "<u4"
        stats = documents.stats(corpus)
        sources = [{key: source[key] for key in ("name", "language", "licence", "weight")} for source in stats["sources"]]
        total = sum(amount["bytes"] for amount in stats["splits"].values()) or None
        present = [name for name in SPLITS if name != "test" or name in stats["splits"]]
        amounts = {}
        with console.bar(str(text("tokens")), total and total / 1e6, "MB") as bar:
            for name in present:
                (folder / name).mkdir(parents=True, exist_ok=True)
                found = documents.iterate(corpus, name, columns=("id", "text", "source", "language"))
                amounts[name] = _write(folder / name, found, tokenizer, dtype, bar)
        about = {"dtype": dtype, "size": tokenizer.size, "border": tokenizer.eos_id, "splits": amounts, "sources": sources}
        files.write_json(folder / "tokens.json", about)
        return cls(folder, about)


def for_run(run: Run, corpus: Path, tokenizer: Path) -> TokenShards:
    """The shards of a corpus and a tokenizer (the folders of their stages), made once for all of a run's stages."""
    from yanmo.text.tokenizer import Tokenizer

    key = {"corpus": digest_of(corpus), "tokenizer": digest_of(tokenizer), "format": 2}
    name = f"tokens/{corpus.resolve().name}-{tokenizer.resolve().name}"

    def make(folder: Path) -> None:
        TokenShards.build(corpus, Tokenizer.load(tokenizer), folder, run.console)

    return TokenShards.open(run.shared(name, key, make))


def repeats(id_: str, weight: float) -> int:
    """How often a document comes: a fraction is decided by its hash."""
    times = int(weight)
    return times + (weight != times and xxhash.xxh3_64_intdigest(b"weight/" + id_.encode()) / 2**64 < weight - times)


def _write(folder: Path, rows: Iterable[dict[str, Any]], tokenizer: Tokenizer, dtype: str, bar: Bar) -> dict[str, int]:
    first = size = count = 0
    with (open(folder / "tokens.bin", "wb") as out,
          parquet.ParquetWriter(folder / "documents.parquet", SCHEMA, compression="zstd") as table):  # fmt: skip
        for batch in _batches(rows):
            about = []
            for row, ids in zip(batch, tokenizer.encode_batch([row["text"] for row in batch])):
                tokens = np.empty(len(ids) + 1, dtype)
                tokens[0], tokens[1:] = tokenizer.eos_id, ids
                tokens.tofile(out)
                length = len(row["text"].encode("utf-8"))
                about.append((row["id"], first, len(tokens), length, row["source"], row["language"]))
                first, size, count = first + len(tokens), size + length, count + 1
            columns = [pa.array(column, kind.type) for column, kind in zip(zip(*about), SCHEMA)]
            table.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
            bar.advance(sum(entry[3] for entry in about) / 1e6, tokens=first)
    return {"documents": count, "tokens": first, "bytes": size}


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    characters = 0
    for row in rows:
        held.append(row)
        characters += len(row["text"])
        if len(held) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield held
            held, characters = [], 0
    if held:
        yield held
