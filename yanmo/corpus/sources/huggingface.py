"""A dataset of Hugging Face's `datasets` as `save_to_disk` leaves it: folders of Arrow streams, one row a document.

Read with pyarrow alone. `state.json` says which files a dataset has, `dataset_dict.json` which splits; the splits train,
validation (also valid, val, dev) and test are kept as such, and any other is divided by content. Arrow files without those
are read too. Origins are row numbers in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow
from pyarrow import ipc

from yanmo.core.data import Document, Origin
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import expand, locate, written
from yanmo.corpus.source import SPLITS, Shard
from yanmo.corpus.sources import parquet
from yanmo.corpus.sources.parquet import BATCH_ROWS, ParquetSource

KNOWN = {"train": "train", "test": "test"} | dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
ABOUT = ("dataset_dict.json", "state.json", "dataset_info.json")


class HuggingfaceSource(ParquetSource):
    """A `datasets` folder saved with save_to_disk: one document a row.

    `path` is the folder of a Dataset or of a DatasetDict, whose train, validation and test are kept as splits. `fields`
    says which column holds the text."""

    type: str = "huggingface"

    endings: ClassVar[tuple[str, ...]] = (".arrow",)

    def located(self) -> list[tuple[str | None, Path]]:
        if isinstance(self.path, str):
            return self._files(self.path)
        return [(split, file) for split in SPLITS if split in self.path for _, file in self._files(self.path[split])]

    def files(self) -> list[Path]:
        """The data, and what says how it hangs together."""
        found = super().files()
        places = {file.parent for file in found} | {file.parent.parent for file in found}
        return found + sorted(place / name for place in places for name in ABOUT if (place / name).is_file())

    def _files(self, path: str) -> list[tuple[str | None, Path]]:
        place = locate(path)
        if (place / "dataset_dict.json").is_file():
            splits = _json(place / "dataset_dict.json", "splits")
            return [(KNOWN.get(split), file) for split in splits for file in _dataset(place / split)]
        if (place / "state.json").is_file():
            return [(None, file) for file in _dataset(place)]
        return [(None, file) for file in expand(path, self.endings)]

    def shards(self) -> list[Shard]:
        return [shard for _, file in self.located() for shard in _shards(file)]

    def documents(self, shard: Shard) -> Iterator[Document]:
        if shard.stamp[0] == 0 or (shard.end == 0 and not shard.whole):
            yield self.quarantined("", Origin(shard.file, None, 0, 0), "empty_file")
            return
        number = 0
        try:
            with pyarrow.memory_map(str(shard.path)) as file:
                for batch in _batches(file):
                    first, number = number, number + batch.num_rows
                    if number <= shard.start:
                        continue
                    _sound(batch)
                    for piece in range(0, batch.num_rows, BATCH_ROWS):
                        for offset, row in enumerate(parquet.rows(batch.slice(piece, BATCH_ROWS)), first + piece):
                            if shard.start <= offset < shard.end:
                                yield self.row(row, Origin(shard.file, None, offset, offset + 1))
                    if number >= shard.end and not shard.whole:
                        return
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            yield self.quarantined("", Origin(shard.file, None, number, number), "bad_file", str(error).splitlines()[0])

    def expects(self) -> Any:
        return text("an Arrow file of a dataset that was saved with save_to_disk")


def _dataset(folder: Path) -> list[Path]:
    """The files of one dataset, in their order. DataError where one is missing."""
    found = []
    if _json(folder / "state.json", "_indices_data_files", optional=True):
        raise DataError(str(folder), text("rows as they are"),
                        text("a list of chosen rows, as old versions of 'datasets' wrote it"),
                        text("load it and save it again with a present version"))  # fmt: skip
    for entry in _json(folder / "state.json", "_data_files"):
        file = folder / str(entry["filename"] if isinstance(entry, dict) else entry)
        if not file.is_file() or file.parent != folder:
            raise DataError(str(folder / "state.json"), text("the files that it names"), text("no {path}", path=file.name))
        found.append(file)
    if not found:
        raise DataError(str(folder), text("at least one Arrow file"), text("none"))
    return found


def _json(file: Path, key: str, *, optional: bool = False) -> list[Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(str(file), text("what save_to_disk writes"), " ".join(str(error).split())) from None
    if not isinstance(found, list) and not optional:
        raise DataError(str(file), text("a list '{name}'", name=key), text("none"))
    return found or []


def _shards(path: Path) -> list[Shard]:
    """Whole batches of about SHARD_BYTES; behind what can be read, a shard that meets the damage (`whole`, no rows)."""
    name, found = written(path), list[Shard]()
    start = rows = size = 0
    try:
        with pyarrow.memory_map(str(path)) as file:
            for batch in _batches(file):
                rows, size = rows + batch.num_rows, size + batch.nbytes
                if size >= parquet.SHARD_BYTES:
                    found.append(Shard(name, None, start, rows, size))
                    start, size = rows, 0
    except (pyarrow.ArrowException, OSError):
        if rows > start:
            found.append(Shard(name, None, start, rows, size))
        return [*found, Shard(name, None, rows, rows, 0, whole=True)]
    if rows > start:
        found.append(Shard(name, None, start, rows, size))
    return found or [Shard(name, None, 0, 0)]


def _batches(file: Any) -> Iterator[pyarrow.RecordBatch]:
    """The batches of an Arrow stream, or of an Arrow file, without a copy."""
    head = file.read(6)
    file.seek(0)
    if head == b"ARROW1":
        reader = ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from ipc.open_stream(file)


def _sound(batch: pyarrow.RecordBatch) -> None:
    """ArrowInvalid where offsets lead outside: reading on would end the process. Broken UTF-8 is found row by row."""
    try:
        batch.validate(full=True)
    except pyarrow.ArrowInvalid as error:
        if "UTF8" not in str(error) and "UTF-8" not in str(error):
            raise
