"""A Python data source of Spark: each of its partitions is a task of ours, its rows what the task gives.

The first pass of a plan reads the corpus: an InputPartition is then a few shards of the sources, cut exactly as the local
engine cuts them. What the partition yields are Arrow batches: the keys and small values of a global step, or one row that
says what was written. The partitions stand in a file on the driver, for an option of a data source is a string.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.types import StructType

from yanmo.corpus.engines.spark_work import Packed


class TaskPartition(InputPartition):
    def __init__(self, packed: Packed):
        super().__init__(None)
        self.packed = packed


class TaskReader(DataSourceReader):
    def __init__(self, tasks: str):
        self.tasks = tasks

    def partitions(self) -> list[InputPartition]:
        """Called on the driver, in a process of its own."""
        return [TaskPartition(packed) for packed in pickle.loads(Path(self.tasks).read_bytes())]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, TaskPartition)
        with partition.packed.opened() as (give, number, task):
            yield from give(number, task)


class TaskSource(DataSource):
    """Options: `tasks`, the file with the packed tasks; `columns`, those of the rows as Spark writes a schema."""

    @classmethod
    def name(cls) -> str:
        return "yanmo"

    def schema(self) -> Any:
        return self.options["columns"]

    def reader(self, schema: StructType) -> DataSourceReader:
        return TaskReader(self.options["tasks"])
