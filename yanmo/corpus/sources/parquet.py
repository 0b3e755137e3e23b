"""Parquet: one row a document, one of the columns the text. Read by row groups; origins are row numbers in the file."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow
import pyarrow.parquet as parquet

from yanmo.core.data import Document, Origin
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.corpus.source import SHARD_BYTES, RowSource, Shard

BATCH_ROWS = 256


class ParquetSource(RowSource):
    """Parquet files: one document a row."""

    type: str = "parquet"

    endings: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def shards(self) -> list[Shard]:
        return [shard for _, file in self.located() for shard in _shards(file)]

    def documents(self, shard: Shard) -> Iterator[Document]:
        if shard.end == 0:
            reason, why = _unreadable(shard.path)
            yield self.quarantined("", Origin(shard.file, None, 0, 0), reason, why)
            return
        number = shard.start
        try:
            with parquet.ParquetFile(shard.path, pre_buffer=False) as file:
                chosen, first = [], 0
                for group in range(file.metadata.num_row_groups):
                    if shard.start <= first < shard.end:
                        chosen.append(group)
                    first += file.metadata.row_group(group).num_rows
                for batch in file.iter_batches(BATCH_ROWS, row_groups=chosen, use_threads=False):
                    for row in rows(batch):
                        yield self.row(row, Origin(shard.file, None, number, number + 1))
                        number += 1
        except (pyarrow.ArrowException, OSError) as error:
            if number >= shard.end or (isinstance(error, OSError) and error.errno):
                raise
            why = str(error).splitlines()[0]
            yield self.quarantined("", Origin(shard.file, None, number, shard.end), "bad_file", why)

    def row(self, row: dict[str, Any] | UnicodeDecodeError, origin: Origin) -> Document:
        """The document of a row, or of the error that stands for one."""
        if isinstance(row, UnicodeDecodeError):
            value = f"byte 0x{row.object[row.start]:02x} at {row.start}"
            return self.quarantined(bytes(row.object), origin, "invalid_encoding", value)
        wanted = self.fields.get("text", "text")
        body = row.get(wanted)
        if isinstance(body, bytes):  # a column of bytes without a declared type, as older writers left them
            try:
                row[wanted] = body.decode("utf-8")
            except UnicodeDecodeError as error:
                value = f"byte 0x{body[error.start]:02x} at {error.start}"
                return self.quarantined(body, origin, "invalid_encoding", value)
        doc = self.document(row, origin, str(body))
        doc.meta = {key: _plain(value) for key, value in doc.meta.items()}
        return doc

    def expects(self) -> Any:
        return text("a Parquet file")


def _shards(path: Path) -> list[Shard]:
    """Consecutive row groups of about SHARD_BYTES; (0, 0) for a file that is empty or cannot be read."""
    found: list[Shard] = []
    try:
        with parquet.ParquetFile(path) as file:
            start = rows = size = 0
            for group in range(file.metadata.num_row_groups):
                about = file.metadata.row_group(group)
                rows, size = rows + about.num_rows, size + about.total_byte_size
                if size >= SHARD_BYTES or group == file.metadata.num_row_groups - 1:
                    if rows > start:
                        found.append(Shard(written(path), None, start, rows, size))
                    start, size = rows, 0
    except (pyarrow.ArrowException, OSError):
        found = []
    return found or [Shard(written(path), None, 0, 0)]


def _unreadable(path: Path) -> tuple[str, str | None]:
    try:
        parquet.ParquetFile(path).close()
    except (pyarrow.ArrowException, OSError) as error:
        return ("empty_file", None) if path.stat().st_size == 0 else ("bad_file", str(error).splitlines()[0])
    return "empty_file", None


def rows(batch: pyarrow.RecordBatch) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    """The batch's rows; the error itself in place of a row whose bytes are not what the column declares."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error


def _plain(value: Any) -> Any:
    """A value of any column as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)
