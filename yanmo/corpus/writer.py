"""The one writer of a corpus, whatever engine made it: Parquet files whose borders and bytes depend on the documents alone.

    documents/00000.parquet …     id, text, split, source, language, file, member, start, end, meta (JSON)
    dropped/00000.parquet …       the same without split, and step, reason, value
    quarantined/00000.parquet …   reason, value, text (an excerpt), source, file, member, start, end, line
    stats.json                    {in, kept, dropped: {"step.reason": n}, quarantined: {reason: n}, splits, sources}
    corpus.html                   the same to look at, with examples

Documents come in the corpus's order, one at a time; a row group is held and no more.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from yanmo.core import files
from yanmo.core.data import Document
from yanmo.corpus.engines.parts import compact
from yanmo.corpus.page import page
from yanmo.corpus.source import QUARANTINE, Source
from yanmo.corpus.split import Split, place
from yanmo.text.language import language as language_of

GROUP_ROWS, GROUP_BYTES = 1000, 8 << 20
FILE_ROWS, FILE_BYTES = 500_000, 512 << 20
EXAMPLES = 4  # of each source that was kept from, and of each reason
ORIGIN = [("source", pa.string()), ("language", pa.string()), ("file", pa.string()), ("member", pa.string()),
          ("start", pa.int64()), ("end", pa.int64()), ("meta", pa.string())]  # fmt: skip
DOCUMENTS = pa.schema([("id", pa.string()), ("text", pa.string()), ("split", pa.string()), *ORIGIN])
DROPPED = pa.schema([("id", pa.string()), ("text", pa.string()), *ORIGIN, ("step", pa.string()), ("reason", pa.string()),
                     ("value", pa.string())])  # fmt: skip
QUARANTINED = pa.schema([("reason", pa.string()), ("value", pa.string()), ("text", pa.string()), *ORIGIN[:1], *ORIGIN[2:6],
                         ("line", pa.int64())])  # fmt: skip


def write(folder: Path, docs: Iterable[Document], sources: list[Source], split: Split) -> dict[str, Any]:
    """Writes a corpus into `folder`, each of its parts whole or not at all; returns what stats.json holds."""
    about = {source.name: source.about() for source in sources}
    counts = _Counts(sources, about)
    tables = {"documents": DOCUMENTS, "dropped": DROPPED, "quarantined": QUARANTINED}
    for name in (*tables, "stats.json", "corpus.html"):  # of a try that was killed while it put them in place
        files.remove(folder / name)
    with files.atomic(folder / "corpus") as temporary:
        outputs = {name: _Table(temporary / name, schema) for name, schema in tables.items()}
        for doc in docs:
            counts.seen += 1
            language = doc.meta.get("language") or about[doc.source]["language"] or _detected(doc)
            common = (doc.source, language, doc.origin.file, doc.origin.member, doc.origin.start, doc.origin.end)
            size = len(doc.text.encode("utf-8"))
            if doc.rejection is None:
                where = split.of(doc)
                outputs["documents"].add((doc.id, doc.text, where, *common, compact(doc.meta)), size)
                counts.keep(doc, where, size, language)
                continue
            value = doc.rejection.value
            shown = value if value is None or isinstance(value, str) else compact(value)
            if doc.rejection.step == QUARANTINE:
                where_read = (doc.source, *common[2:], doc.meta.get("line"))
                outputs["quarantined"].add((doc.rejection.reason, shown, doc.text, *where_read), size)
            else:
                why = (doc.rejection.step, doc.rejection.reason, shown)
                outputs["dropped"].add((doc.id, doc.text, *common, compact(doc.meta), *why), size)
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


def _detected(doc: Document) -> str | None:
    """The language of a document whose source does not say, by its script."""
    found = language_of(doc.text)
    return found if found in ("en", "zh") else None


class _Table:
    """Parquet files in a folder, made when the first row comes. Row groups and files end by rows or bytes."""

    def __init__(self, folder: Path, schema: pa.Schema):
        self.folder, self.schema = folder, schema
        self.rows: list[tuple[Any, ...]] = []
        self.size = self.file_rows = self.file_size = self.number = 0
        self.file: parquet.ParquetWriter | None = None

    def add(self, row: tuple[Any, ...], size: int) -> None:
        self.rows.append(row)
        self.size += size
        if len(self.rows) >= GROUP_ROWS or self.size >= GROUP_BYTES:
            self._group()

    def close(self) -> None:
        self._group()
        if self.file is not None:
            self.file.close()
            self.file = None

    def _group(self) -> None:
        if not self.rows:
            return
        if self.file is not None and (self.file_rows >= FILE_ROWS or self.file_size >= FILE_BYTES):
            self.file.close()
            self.file = None
        if self.file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self.number:05d}.parquet"
            known = [name for name in self.schema.names if name not in ("id", "text", "start", "end", "line")]
            self.file = parquet.ParquetWriter(path, self.schema, compression="zstd", compression_level=3, use_dictionary=known)
            self.number, self.file_rows, self.file_size = self.number + 1, 0, 0
        columns = [pa.array(column, kind.type) for column, kind in zip(zip(*self.rows), self.schema)]
        self.file.write_table(pa.Table.from_arrays(columns, schema=self.schema), row_group_size=len(self.rows))
        self.file_rows, self.file_size = self.file_rows + len(self.rows), self.file_size + self.size
        self.rows, self.size = [], 0


class _Counts:
    """What the corpus amounts to, for the whole, each source and each split; and a few documents of every fate."""

    def __init__(self, sources: list[Source], about: dict[str, dict[str, Any]]):
        self.sources, self.about, self.seen = sources, about, 0
        self.dropped: dict[str, Counter[str]] = {source.name: Counter() for source in sources}
        self.quarantined: dict[str, Counter[str]] = {source.name: Counter() for source in sources}
        self.documents: Counter[tuple[str, str]] = Counter()  # (source, split)
        self.bytes: Counter[tuple[str, str]] = Counter()
        self.shown: dict[tuple[str, str], list[tuple[int, int, dict[str, Any]]]] = {}

    def keep(self, doc: Document, split: str, size: int, language: str | None) -> None:
        self.documents[doc.source, split] += 1
        self.bytes[doc.source, split] += size
        self._show(("kept", doc.source), doc, language, split)

    def reject(self, doc: Document, language: str | None) -> None:
        assert doc.rejection is not None
        if doc.rejection.step == QUARANTINE:
            self.quarantined[doc.source][doc.rejection.reason] += 1
            self._show(("quarantined", doc.rejection.reason), doc, language)
        else:
            name = f"{doc.rejection.step}.{doc.rejection.reason}"
            self.dropped[doc.source][name] += 1
            self._show(("dropped", name), doc, language)

    def _show(self, fate: tuple[str, str], doc: Document, language: str | None, split: str = "") -> None:
        """Keeps the few documents with the smallest hashes: a sample that no order can change."""
        held = self.shown.setdefault(fate, [])
        rank = (-place(doc.id), -doc.order)
        if len(held) < EXAMPLES or rank > held[0][:2]:
            example = {"text": doc.text[:600], "source": doc.source, "language": language,
                       "file": doc.origin.file, "start": doc.origin.start, "end": doc.origin.end, "split": split,
                       "line": doc.meta.get("line") if fate[0] == "quarantined" else None,
                       "value": doc.rejection.value if doc.rejection else None,
                       "similarity": doc.meta.get("similarity") if fate[0] == "dropped" else None}  # fmt: skip
            (heapq.heappushpop if len(held) == EXAMPLES else heapq.heappush)(held, (*rank, example))

    def examples(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        return {fate: [example for _, _, example in sorted(held, key=lambda h: h[:2], reverse=True)]
                for fate, held in sorted(self.shown.items())}  # fmt: skip

    def stats(self) -> dict[str, Any]:
        splits = [name for name in ("train", "validation", "test") if any(split == name for _, split in self.documents)]
        kept = self.documents.total()
        dropped = sum(self.dropped.values(), Counter())
        quarantined = sum(self.quarantined.values(), Counter())
        sources = [self._source(source, splits) for source in self.sources]
        assert self.seen == kept + dropped.total() + quarantined.total() == sum(source["in"] for source in sources)
        return {
            "in": self.seen, "kept": kept,
            "dropped": dict(sorted(dropped.items())), "quarantined": dict(sorted(quarantined.items())),
            "splits": {name: self._amount(lambda source, split, name=name: split == name) for name in splits},
            "sources": sources,
        }  # fmt: skip

    def _source(self, source: Source, splits: list[str]) -> dict[str, Any]:
        name, about = source.name, self.about[source.name]
        amount = self._amount(lambda own, split: own == name)
        return {
            "name": name, "type": source.type, "path": source.path, "title": about["title"], "language": about["language"],
            "licence": about["licence"], "weight": source.weight,
            "in": amount["documents"] + self.dropped[name].total() + self.quarantined[name].total(),
            "kept": amount["documents"], "bytes": amount["bytes"],
            "dropped": dict(sorted(self.dropped[name].items())), "quarantined": dict(sorted(self.quarantined[name].items())),
            "splits": {split: self._amount(lambda own, where, split=split: own == name and where == split) for split in splits},
        }  # fmt: skip

    def _amount(self, chosen: Any) -> dict[str, int]:
        keys = [key for key in self.documents if chosen(*key)]
        return {"documents": sum(self.documents[key] for key in keys), "bytes": sum(self.bytes[key] for key in keys)}
