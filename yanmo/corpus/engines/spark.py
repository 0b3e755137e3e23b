"""The Spark engine: the same plan, its partitions worked on by a cluster's executors.

    sources ──shards──> InputPartitions of a Python data source ──fused maps──> part files ──> …
    group:  (section of the key, key, value), combined on the executors → shuffle → mapInArrow combines equal keys
    join:   (key, place of the row) and (key, value) → shuffle → mapInArrow matches → spill (partition, row, value)
    sort:   (key, row) → shuffle by range → mapInArrow writes the ranges

Spark's shuffle carries keys and small values (a sort excepted: it has to move the rows). Documents stay in the part files
that the executor wrote, in the session's folder, and never pass through the Java side. That folder, the input files and
the working directory therefore lie on a file system that the driver and every executor share, at the same path; with
`local[n]` that is always so.

Partitions, parts and spills are those of the local engine (`tasks.py`), so a run that was killed on one engine goes on
with the other.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from yanmo.core.errors import RequestError
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.corpus.dataset import Engine

if TYPE_CHECKING:
    from yanmo.core.console import Console
    from yanmo.corpus.engines.spark_session import SparkWork

WHERE = "engine: spark"
OURS = "spark"  # the folder of this engine's own files, in that of a session and of each operation
MASTER = re.compile(r"local|local\[(\d+|\*)(,\d+)?\]|local-cluster\[.+\]|yarn|spark://.+|k8s://.+")
JAVA, PYSPARK, PANDAS = 17, (4, 1), ((2, 2), (3, 0))


class SparkEngine(Engine):
    """Spark: this machine's cores (`local[n]`) or a cluster.

    `master`: local[n], spark://host:port, yarn or k8s://…; `settings`: Spark's own (spark.executor.memory: 4g);
    `partitions`: into how many a group, a join or a sort is divided, None is by the size of the data. A Spark session that
    is already running in this process is used as it is, and left running."""

    type: str = "spark"
    master: str = "local[*]"
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    partitions: int | None = Field(default=None, ge=1, le=256)

    execution: ClassVar[frozenset[str]] = frozenset({"master", "settings", "partitions"})

    @field_validator("master")
    @classmethod
    def _known_master(cls, master: str) -> str:
        if not MASTER.fullmatch(master):
            raise ValueError(str(text("local[n], spark://host:port, yarn or k8s://host:port")))
        return master

    @field_validator("settings")
    @classmethod
    def _of_spark(cls, settings: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        for name in settings:
            if not name.startswith("spark."):
                raise ValueError(str(text("names that begin with 'spark.' (not '{name}')", name=name)))
        return settings

    def check(self) -> None:
        pyspark, pandas = needed("pyspark", "spark", WHERE), needed("pandas", "spark", WHERE)
        install = text("pip install 'yanmo[{extra}]'", extra="spark")
        if numbers(pyspark.__version__) < PYSPARK:
            raise RequestError(WHERE, text("pyspark {version} or newer", version="4.1"), pyspark.__version__, install)
        first, behind = PANDAS
        if not first <= numbers(pandas.__version__) < behind:
            raise RequestError(WHERE, text("pandas 2, 2.2 or newer (Spark works with no other)"), pandas.__version__, install)
        if pyspark.SparkContext._active_spark_context is None:
            check_java()

    @contextmanager
    def session(self, folder: Path, console: Console) -> Iterator[SparkWork]:
        self.check()
        from yanmo.corpus.engines.spark_session import SparkWork
        from yanmo.corpus.engines.spark_start import spark

        with ExitStack() as running:  # nothing, until a job is to be done
            start = partial(spark, self.master, self.settings, folder.resolve() / OURS)
            work = SparkWork(folder, console, lambda: running.enter_context(start()), self.partitions)
            yield running.enter_context(closing(work))


def numbers(version: str) -> tuple[int, int]:
    """Major and minor version."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def check_java() -> None:
    """RequestError unless the Java that Spark would start is there and new enough."""
    install = text("install Java {version} ('apt install openjdk-{version}-jre-headless', 'brew install openjdk@{version}', "
                   "or adoptium.net), or let JAVA_HOME name it", version=JAVA)  # fmt: skip
    expected = text("Java {version} or newer", version=JAVA)
    home = os.environ.get("JAVA_HOME")
    command = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    if command is None:
        given = text("no bin/java in JAVA_HOME ({home})", home=home) if home else text("no 'java' on the PATH, and no JAVA_HOME")
        raise RequestError(WHERE, expected, given, install)
    said = subprocess.run([command, "-version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if said.returncode or found is None:
        raise RequestError(WHERE, expected, text("{command}, which does not run", command=command), install)
    if int(found[1]) < JAVA:
        raise RequestError(WHERE, expected, text("Java {version} ({command})", version=found[1], command=command), install)
