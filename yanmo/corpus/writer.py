"""The one writer of a corpus, whatever engine made it: Parquet files whose borders and bytes depend on the documents alone.

    documents/00000.parquet …     id, text, split, source, language, scores, file, member, start, end, meta (JSON)
    dropped/00000.parquet …       the same without split, and step, reason, value
    quarantined/00000.parquet …   reason, value, text (an excerpt), source, file, member, start, end, line
    stats.json                    {in, kept, dropped: {"step.reason": n}, quarantined: {reason: n}, splits, sources}
    corpus.html                   the same to look at, with examples

Documents come in the corpus's order, one at a time. A row group is held, and one or two that are being compressed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from yanmo.core import files
from yanmo.core.data import Document
from yanmo.corpus.account import Account
from yanmo.corpus.engines.columns import column
from yanmo.corpus.engines.parts import compact
from yanmo.corpus.page import page
from yanmo.corpus.source import QUARANTINE, Source
from yanmo.corpus.split import Split
from yanmo.corpus.step import Step
from yanmo.text.language import language as language_of

GROUP_ROWS, GROUP_BYTES = 1000, 8 << 20
FILE_ROWS, FILE_BYTES = 500_000, 512 << 20
ORIGIN = [("source", pa.string()), ("language", pa.string()), ("scores", pa.map_(pa.string(), pa.float64())),
          ("file", pa.string()), ("member", pa.string()), ("start", pa.int64()), ("end", pa.int64()),
          ("meta", pa.string())]  # fmt: skip
DOCUMENTS = pa.schema([("id", pa.string()), ("text", pa.string()), ("split", pa.string()), *ORIGIN])
DROPPED = pa.schema([("id", pa.string()), ("text", pa.string()), *ORIGIN, ("step", pa.string()), ("reason", pa.string()),
                     ("value", pa.string())])  # fmt: skip
QUARANTINED = pa.schema([("reason", pa.string()), ("value", pa.string()), ("text", pa.string()), *ORIGIN[:1], *ORIGIN[3:7],
                         ("line", pa.int64())])  # fmt: skip


def write(
    folder: Path, docs: Iterable[Document], sources: list[Source], split: Split, steps: Sequence[Step] = ()
) -> dict[str, Any]:
    """Writes a corpus into `folder`, each of its parts whole or not at all; returns what stats.json holds. `steps` are those
    that the documents went through, in their order."""
    about = {source.name: source.about() for source in sources}
    counts = Account(sources, about, steps)
    tables = {"documents": DOCUMENTS, "dropped": DROPPED, "quarantined": QUARANTINED}
    for name in (*tables, "stats.json", "corpus.html"):  # of a try that was killed while it put them in place
        files.remove(folder / name)
    with files.atomic(folder / "corpus") as temporary, ThreadPoolExecutor(1) as thread:
        outputs = {name: _Table(temporary / name, schema, thread) for name, schema in tables.items()}
        for doc in docs:
            counts.seen += 1
            language = doc.meta.pop("language", None) or about[doc.source]["language"] or _detected(doc)
            scores = doc.meta.pop("scores", None)
            common = (doc.source, language, scores or {}, doc.origin.file, doc.origin.member, doc.origin.start, doc.origin.end)
            size = len(doc.text) if doc.text.isascii() else len(doc.text.encode("utf-8"))
            if doc.rejection is None:
                where = split.of(doc)
                outputs["documents"].add((doc.id, doc.text, where, *common, _json(doc.meta)), size)
                counts.keep(doc, where, size, language, scores or {})
                continue
            value = doc.rejection.value
            shown = value if value is None or isinstance(value, str) else compact(value)
            if doc.rejection.step == QUARANTINE:
                where_read = (doc.source, *common[3:], doc.meta.get("line"))
                outputs["quarantined"].add((doc.rejection.reason, shown, doc.text, *where_read), size)
            else:
                why = (doc.rejection.step, doc.rejection.reason, shown)
                outputs["dropped"].add((doc.id, doc.text, *common, _json(doc.meta), *why), size)
            counts.reject(doc, language)
        for table in outputs.values():
            table.close()
        stats = counts.stats()
        files.write_json(temporary / "stats.json", stats)
        files.write_text(temporary / "corpus.html", page(stats, counts.examples()))
    for path in sorted((folder / "corpus").iterdir()):
        path.replace(folder / path.name)
    (folder / "corpus").rmdir()
    return stats


def _json(meta: dict[str, Any]) -> str:
    return compact(meta) if meta else "{}"


def _detected(doc: Document) -> str | None:
    """The language of a document whose source does not say, by its script."""
    found = language_of(doc.text)
    return found if found in ("en", "zh") else None


class _Table:
    """Parquet files in a folder, made when the first row comes. Row groups and files end by rows or bytes. `thread` writes
    a row group while the rows of the next are gathered."""

    def __init__(self, folder: Path, schema: pa.Schema, thread: ThreadPoolExecutor):
        self.folder, self.schema, self.thread = folder, schema, thread
        self.rows: list[tuple[Any, ...]] = []
        self.size = self.file_rows = self.file_size = self.number = 0
        self.file: parquet.ParquetWriter | None = None
        self.writing: Future[None] | None = None

    def add(self, row: tuple[Any, ...], size: int) -> None:
        self.rows.append(row)
        self.size += size
        if len(self.rows) >= GROUP_ROWS or self.size >= GROUP_BYTES:
            self._group()

    def close(self) -> None:
        self._group()
        self._close()

    def _group(self) -> None:
        if not self.rows:
            return
        if self.file is not None and (self.file_rows >= FILE_ROWS or self.file_size >= FILE_BYTES):
            self._close()
        columns = [column(values, kind.type) for values, kind in zip(zip(*self.rows), self.schema)]
        table = pa.Table.from_arrays(columns, schema=self.schema)
        self._written()
        if self.file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self.number:05d}.parquet"
            known = [name for name in self.schema.names if name not in ("id", "text", "start", "end", "line")]
            self.file = parquet.ParquetWriter(path, self.schema, compression="zstd", compression_level=3, use_dictionary=known)
            self.number, self.file_rows, self.file_size = self.number + 1, 0, 0
        self.writing = self.thread.submit(self.file.write_table, table, row_group_size=table.num_rows)
        self.file_rows, self.file_size = self.file_rows + table.num_rows, self.file_size + self.size
        self.rows, self.size = [], 0

    def _written(self) -> None:
        """Waits for the row group that is being written, and raises what went wrong with it."""
        if self.writing is not None:
            self.writing.result()
            self.writing = None

    def _close(self) -> None:
        self._written()
        if self.file is not None:
            self.file.close()
            self.file = None
