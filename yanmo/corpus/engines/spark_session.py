"""The Spark engine at work: the local engine's session, whose passes are Spark jobs.

What an operation leaves behind has the local engine's format, so either engine takes up what the other one finished: the
parts of documents one by one; a group, a join or a sort as a whole (an unfinished one of ours lies in `spark/` in the
folder of the operation, where the other engine does not look, and is made again).
"""

from __future__ import annotations

import pickle
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core import files
from yanmo.core.console import Bar, Console
from yanmo.core.errors import WorkError
from yanmo.core.messages import Text, text
from yanmo.corpus import dataset
from yanmo.corpus.engines.session import SHOWN_BYTES, LocalSession
from yanmo.corpus.engines.spark import OURS
from yanmo.corpus.engines.spark_source import TaskSource
from yanmo.corpus.engines.spark_start import first_line, paths
from yanmo.corpus.engines.spark_work import (
    MADE,
    SHUFFLED,
    After,
    ExecutorError,
    Give,
    Packed,
    arrange,
    columns,
    combine,
    made,
    match,
)
from yanmo.corpus.engines.tasks import (
    SECTIONS,
    FileScan,
    PersistTask,
    PlaceTask,
    SortTask,
    SpillTask,
    Task,
    first_of,
    second_of,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TARGET_BYTES = 64 << 20  # of the input of a group, a join or a sort, to a partition of its shuffle
NOWHERE = Path()
POLL = 0.5  # seconds

Side = tuple[Callable[..., Any], list[Any]]  # how tasks give their rows, and the tasks


class SparkWork(LocalSession):
    """`start` gives a running Spark; it is asked for when there is something to do."""

    def __init__(self, folder: Path, console: Console, start: Callable[[], SparkSession], targets: int | None):
        super().__init__(folder.resolve(), console, workers=1)
        self.start, self.targets = start, targets
        self.used.add(OURS)

    @cached_property
    def spark(self) -> SparkSession:
        spark = self.start()
        spark.dataSource.register(TaskSource)
        (self.folder / OURS).mkdir(exist_ok=True)
        return spark

    # -------------------------------------------------------------------------------------------- operations

    def _group(self, plan: dataset.Group, folder: Path) -> list[Path]:
        tasks = [SpillTask(NOWHERE, scan, plan.key, plan.value, plan.reduce, size=scan.size) for scan in self._scans(plan.child)]
        give = Give(self._targets(tasks))
        return self._shuffled(text("corpus: groups"), [(give.pairs, tasks)], give.targets, folder, combine, plan.reduce)

    def _join(self, plan: dataset.Join, folder: Path) -> list[Path]:
        if plan.key is dataset.by_place:  # nothing has to be looked for
            return super()._join(plan, folder)
        right = [SpillTask(NOWHERE, scan, first_of, second_of, None, size=scan.size) for scan in self._scans(plan.other)]
        left = [PlaceTask(NOWHERE, scan, plan.key, i, size=scan.size) for i, scan in enumerate(self._scans(plan.child))]
        give = Give(self._targets([*right, *left]))
        sides: list[Side] = [(give.pairs, right), (give.places, left)]
        return self._shuffled(text("corpus: matches"), sides, give.targets, folder, match)

    def _sort(self, plan: dataset.Sort, folder: Path) -> list[Path]:
        """Spark reads the rows twice, the first time to see where its ranges begin: what it reads are therefore files."""
        scans = self._scans(plan.child)
        if not all(isinstance(scan, FileScan) for scan in scans):
            stored = [PersistTask(folder / "spill" / f"{i:05d}.arrow", scan, size=scan.size) for i, scan in enumerate(scans)]
            scans = [FileScan(path, path.stat().st_size) for path in self._run(text("corpus: documents"), stored)]
        tasks = [SortTask(NOWHERE, scan, plan.key, size=scan.size) for scan in scans]
        give = Give(self._targets(tasks))
        self.spark.conf.set("spark.sql.shuffle.partitions", str(give.targets))
        return self._shuffled(text("corpus: order"), [(give.rows, tasks)], None, folder, arrange)

    def _targets(self, tasks: Sequence[Task]) -> int:
        """How many partitions a shuffle has. Whatever it is, the rows and their order are the same."""
        if self.targets is not None:
            return self.targets
        size = sum(task.size for task in tasks)
        if size < SHOWN_BYTES:
            return 1
        return min(max(size // TARGET_BYTES, self.spark.sparkContext.defaultParallelism), SECTIONS)

    # -------------------------------------------------------------------------------------------- passes

    def _run(self, what: Text, tasks: Sequence[Task]) -> list[Path]:
        """Runs the tasks whose output is not there yet; the outputs of all."""
        pending = [task for task in tasks if not task.output.is_file()]
        if pending:
            self._collect(what, self._frame(made, pending, MADE), pending)
            self._there([task.output for task in pending])
        return [task.output for task in tasks]

    def _shuffled(self, what: Text, sides: list[Side], targets: int | None, folder: Path,
                  write: Callable[..., int], reduce: Any = None) -> list[Path]:  # fmt: skip
        """What the tasks of all sides give, shuffled (`targets` None: into ranges), sorted, and written by `write`."""
        sides = [(give, tasks) for give, tasks in sides if tasks]
        if not sides:
            return []
        ours = folder / OURS
        files.remove(ours)
        ours.mkdir(parents=True)
        sent = self._frame(*sides[0], SHUFFLED)
        for give, tasks in sides[1:]:
            sent = sent.unionAll(self._frame(give, tasks, SHUFFLED))
        order = ("key", "partition", "index")
        if targets is None:
            ordered = sent.orderBy(*order)
        else:
            ordered = sent.repartitionById(targets, "target").sortWithinPartitions(*order)
        after = ordered.mapInArrow(After(Packed.of((write, ours, reduce), paths())), columns(MADE))
        names = self._collect(what, after, [task for _, tasks in sides for task in tasks])
        made_now = [ours / name for name in sorted(names)]
        self._there(made_now)
        return made_now

    def _frame(self, give: Callable[..., Any], tasks: Sequence[Task], schema: Any) -> DataFrame:
        """What the tasks give, a partition for each."""
        where = paths()
        packed = [Packed.of((give, number, task), where) for number, task in enumerate(tasks)]
        spark, written = self.spark, self.folder / OURS / f"{uuid.uuid4().hex[:8]}.tasks"
        written.write_bytes(pickle.dumps(packed))
        return spark.read.format(TaskSource.name()).option("tasks", str(written)).option("columns", columns(schema)).load()

    def _collect(self, what: Text, frame: DataFrame, tasks: Sequence[Task]) -> list[str]:
        """Runs the job; the names of the files that it wrote."""
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        try:
            with self._shown(str(what), sum(task.size for task in tasks)):
                return [row["name"] for row in frame.collect()]
        except (PySparkException, Py4JError) as error:
            told = ExecutorError.within(str(error))
            if told is not None:
                raise told from None
            remedy = text("if memory ran out, give executors more (spark.executor.memoryOverhead) or fewer cores; "
                          "run again, finished parts are kept")  # fmt: skip
            raise WorkError(text("a Spark job"), text("an answer"), first_line(error), remedy) from error
        finally:
            for path in (self.folder / OURS).glob("*.tasks"):
                path.unlink()

    def _there(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if not path.is_file():
                raise WorkError(str(path), text("a file that an executor wrote"), text("none"),
                                text("put the run on a file system that the driver and every executor share"))  # fmt: skip

    @contextmanager
    def _shown(self, what: str, size: int) -> Iterator[None]:
        """A bar while a job runs in this block: the share of its first stage's tasks that are done."""
        context, group = self.spark.sparkContext, f"yanmo-{uuid.uuid4().hex[:8]}"
        context.setJobGroup(group, what)
        try:
            if size < SHOWN_BYTES:
                yield
                return
            over = threading.Event()
            with self.console.bar(what, size / 1e6, "MB") as bar:
                watch = threading.Thread(target=_watch, args=(context.statusTracker(), group, over, bar), daemon=True)
                watch.start()
                try:
                    yield
                finally:
                    over.set()
                    watch.join()
                bar.advance(size / 1e6 - bar.done)
        finally:
            for name in ("spark.jobGroup.id", "spark.job.description"):  # of a thread that may be the user's
                context.setLocalProperty(name, None)  # type: ignore[arg-type]


def _watch(tracker: Any, group: str, over: threading.Event, bar: Bar) -> None:
    """Moves the bar until the job is over; rows are shown by nobody, for they are counted at the end."""
    total = bar.total or 0.0
    while not over.wait(POLL):
        jobs = [found for job in tracker.getJobIdsForGroup(group) if (found := tracker.getJobInfo(job))]
        stages = [stage for job in jobs for stage in job.stageIds]
        first = tracker.getStageInfo(min(stages)) if stages else None
        if first is not None and first.numTasks:
            bar.advance(max(total * first.numCompletedTasks / first.numTasks - bar.done, 0))
