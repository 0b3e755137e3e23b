"""A finished corpus, read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as compute
import pyarrow.parquet as parquet

from yanmo.core.errors import RequestError
from yanmo.core.files import read_json
from yanmo.core.messages import text
from yanmo.core.paths import locate
from yanmo.corpus.formats.compressed import opened

COLUMNS = ("id", "text", "split", "source", "language", "file", "member", "start", "end", "meta")


def files(corpus: Path) -> list[Path]:
    """The Parquet files of a corpus: a corpus stage's folder, or the folder of documents itself."""
    folder = corpus / "documents" if (corpus / "documents").is_dir() else corpus
    found = sorted(folder.glob("*.parquet"))
    if not found:
        raise RequestError(str(corpus), text("a corpus (documents/*.parquet)"), text("none"))
    return found


def iterate(
    corpus: Path, split: str | None = None, batch: int = 1000, columns: Sequence[str] = COLUMNS
) -> Iterator[dict[str, Any]]:
    """The documents in the corpus's order, each a dict of `columns` ('meta' as a dict), holding one row group at a time."""
    wanted = list(dict.fromkeys([*columns, "split"]))
    for path in files(corpus):
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            for found in file.iter_batches(batch, columns=wanted, use_threads=False):
                if split is not None:
                    found = found.filter(compute.equal(found.column("split"), split))
                for row in found.select(list(columns)).to_pylist():
                    if "meta" in row:
                        row["meta"] = json.loads(row["meta"])
                    yield row


def stats(corpus: Path) -> dict[str, Any]:
    """What stats.json says of the corpus; of a bare folder of documents, nothing."""
    for folder in (corpus, corpus.parent):
        if (folder / "stats.json").is_file():
            return read_json(folder / "stats.json")
    return {"sources": [], "splits": {}}


def origins(corpus: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Where these documents were read: {id, file, member, start, end}, in the order of the corpus; all that have the text, where
    several do. Of a corpus without those columns, nothing."""
    columns = ("id", "file", "member", "start", "end")
    wanted = set(ids)
    found = []
    for path in files(corpus):
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            if not set(columns) <= set(file.schema_arrow.names):
                return []
            for batch in file.iter_batches(10_000, columns=list(columns), use_threads=False):
                found += [row for row in batch.to_pylist() if row["id"] in wanted]
    return found


def original(row: dict[str, Any]) -> bytes:
    """The bytes that a document was read from: its file's, or its member's, [start, end), decompressed.

    For every source whose origins are bytes: text, JSON lines, archives, dumps. Those of Parquet, CSV and the like are row
    numbers. CorruptError where the file no longer has the member."""
    with opened(locate(row["file"]), row["member"]) as handle:
        handle.seek(row["start"])
        return handle.read(row["end"] - row["start"])
