"""A part that grows on the disk while it is made, so that a kill costs a few documents and not a file of gigabytes.

`00000.arrow.part` is a sequence of Arrow batches, each with a mark that says where in the input its last row was read.
The next try cuts off what was half written, takes up the mark of the last whole batch, and appends. When everything is
there the file is synced and gets its name.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from yanmo.core.files import FULL, disk_full, sync_folder
from yanmo.corpus.engines.parts import opened_stream

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of an Arrow stream


class Growing:
    """`mark`: that of the last batch of an interrupted try, None at a fresh start; `count`: the rows it left."""

    def __init__(self, path: Path):
        self.path, self.partial = path, path.with_name(path.name + ".part")
        self.mark: Any = None
        self.count = 0
        self.stream: Any = None

    def add(self, batch: pa.RecordBatch, mark: Any) -> None:
        if self.stream is None:
            self.stream = opened_stream(self.file, batch.schema)
        self.stream.write_batch(batch, custom_metadata={"mark": json.dumps(mark)})
        self.file.flush()
        self.count += batch.num_rows

    def __enter__(self) -> Growing:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:  # a process that a killed parent left behind may write for another moment, and even finish
            self.file = open(self.partial, "ab")
            fcntl.flock(self.file, fcntl.LOCK_EX)
            if self.partial.is_file() and os.path.samestat(os.fstat(self.file.fileno()), self.partial.stat()):
                break
            self.file.close()
        self._mend()
        self.file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                if self.stream is None and self.file.tell() == 0:
                    self.stream = opened_stream(self.file, pa.schema([]))
                if self.stream is not None:
                    self.stream.close()
                self.file.flush()
                os.fsync(self.file.fileno())
        except OSError as failed:
            if failed.errno in FULL:
                raise disk_full(self.path) from failed
            raise
        finally:
            self.file.close()
        if isinstance(error, OSError) and error.errno in FULL:
            raise disk_full(self.path) from error
        if kind is None:
            os.replace(self.partial, self.path)
            sync_folder(self.path.parent)

    def _mend(self) -> None:
        """Cuts the file behind its last whole batch and ends the stream there."""
        size, good, open_ = self.partial.stat().st_size, 0, False
        with pa.OSFile(str(self.partial)) as file:
            try:
                while file.tell() < size:
                    stream = ipc.open_stream(file, options=ipc.IpcReadOptions(use_threads=False))
                    while (found := _next(stream)) is not None:
                        batch, metadata = found
                        batch.validate()
                        self.mark, self.count = json.loads(metadata[b"mark"]), self.count + batch.num_rows
                        good, open_ = file.tell(), True
                    if file.tell() > good:  # an end was written
                        good, open_ = file.tell(), False
            except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
                pass  # half a message, or a block that never reached the disk
        with open(self.partial, "r+b") as handle:
            handle.truncate(good)
            if open_:
                handle.seek(good)
                handle.write(END)


def _next(stream: Any) -> tuple[pa.RecordBatch, Any] | None:
    try:
        return stream.read_next_batch_with_custom_metadata()
    except StopIteration:
        return None
