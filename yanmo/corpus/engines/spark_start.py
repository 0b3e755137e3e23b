"""A running Spark: the user's own where there is one, else one that is started here and ends with the work.

What Java prints, and what steps print on executors of this machine, goes to `spark.log` and not to the console.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core import files
from yanmo.core.errors import WorkError
from yanmo.core.messages import text

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG = "spark.log"
SQL = {
    "spark.sql.adaptive.enabled": "false",  # how many partitions there are is our own decision
    "spark.sql.execution.arrow.useLargeVarTypes": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(8 << 20),
}
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# On one machine Java only moves bytes and decides what runs: the cores are for Python. (Measured: a fifth less of them.)
THRIFTY = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@contextlib.contextmanager
def spark(master: str, settings: Mapping[str, Any], folder: Path) -> Iterator[SparkSession]:
    """A Spark session with settings of its own for queries; `folder` is for the log and the shuffle files of this machine."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    if SparkContext._active_spark_context is not None:
        yield _configured(SparkSession.builder.getOrCreate().newSession())
        files.remove(folder)
        return
    files.remove(folder)
    folder.mkdir(parents=True)
    before = signal.getsignal(signal.SIGINT)
    try:
        context = _started(master, settings, folder)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)  # Spark's would only cancel jobs, which end with the session anyway
        first = SparkSession(context)
        try:
            yield _configured(first.newSession())
        finally:
            first.stop()
    finally:
        _end_java()
    files.remove(folder)  # after a failure the log stays


def _configured(session: SparkSession) -> SparkSession:
    for name, value in SQL.items():
        session.conf.set(name, value)
    return session


def _started(master: str, settings: Mapping[str, Any], folder: Path) -> Any:
    """The SparkContext; WorkError where Java ends at once or the master does not answer."""
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
    from pyspark.java_gateway import launch_gateway

    plain = {"spark.app.name": "yanmo", "spark.log.level": "ERROR", "spark.executorEnv.PYTHONPATH": os.pathsep.join(paths())}
    plain |= {f"spark.executorEnv.{name}": "1" for name in ONE_THREAD}
    if master.startswith("local"):
        plain |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false",
                  "spark.local.dir": str(folder.resolve()), "spark.driver.extraJavaOptions": THRIFTY}  # fmt: skip
    given = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}
    python = given.get("spark.pyspark.python") or os.environ.get("PYSPARK_PYTHON") or sys.executable
    conf = SparkConf().setMaster(master).setAll(list({**plain, **given}.items()))
    try:
        if SparkContext._gateway is None:
            with open(folder / LOG, "ab") as log, _environment(PYSPARK_PYTHON=python, PYSPARK_DRIVER_PYTHON=sys.executable):
                SparkContext._gateway = launch_gateway(conf, {"stdout": log, "stderr": log})
                SparkContext._jvm = SparkContext._gateway.jvm
        context = SparkContext(conf=conf)
    except (PySparkException, _py4j_error()) as error:
        raise WorkError(text("Spark ({master})", master=master), text("a start"), first_line(error),
                        text("the log is {log}", log=folder / LOG)) from error  # fmt: skip
    context.pythonExec = python
    return context


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables of the process that is started here: Java asks them which Python plans the reading."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def paths() -> list[str]:
    """Where this process finds modules that are not Python's own, the user's among them."""
    own = sysconfig.get_path("stdlib")
    found = dict.fromkeys(os.path.abspath(entry) for entry in sys.path)
    return [entry for entry in found if not (entry.startswith(own) and "-packages" not in entry) and not entry.endswith(".zip")]


def _end_java() -> None:
    """Ends the Java process that was started here: it would hold its memory while models are trained."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    process = getattr(gateway, "proc", None)
    if gateway is None or process is None or SparkContext._active_spark_context is not None:
        return
    gateway.shutdown()
    SparkContext._gateway = SparkContext._jvm = None
    process.stdin.close()  # it ends by itself when this does
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _py4j_error() -> type[Exception]:
    from py4j.protocol import Py4JError

    return Py4JError


def first_line(error: Exception) -> str:
    """What Spark says, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.strip().startswith("at ")]
    shown = next((line for line in lines if not line.startswith("An error occurred while calling")), type(error).__name__)
    return re.sub(r"^:\s*", "", shown)[:400]
