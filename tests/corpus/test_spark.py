"""Spark against the local engine: the same rows, the same order, the same bytes; a kill on one engine made good by the
other; what is said when Java or pandas is missing, and when an executor fails."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import functions
from tests.corpus.corpora import chinese, english, made, outputs, small_shards, texts, write_jsonl
from tests.corpus.test_engine import alive
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.data import Document, Origin
from yanmo.core.errors import DataError, RecipeError, RequestError, WorkError
from yanmo.core.execute import execute
from yanmo.core.fingerprint import settings_of
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.corpus.dataset import Concatenation, by_place
from yanmo.corpus.engines import spark_work as work

ROOT = Path(__file__).parents[2]
SOURCE = {"type": "jsonl", "path": "a.jsonl"}
STEPS = ["normalize", {"type": "length", "min_chars": 12}, "exact_dedup", "minhash_dedup", {"type": "sample", "fraction": 0.9}]
SPARK = {"type": "spark", "master": "local[2]"}

# ---------------------------------------------------------------------------------------------- what is asked for before work


def refused(match: str) -> None:
    with pytest.raises(RequestError, match=match) as caught:
        create("engine", SPARK).check()
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)


def java(folder: Path, says: str, status: int = 0) -> Path:
    """A program that answers as some Java does."""
    place = folder / "bin" / "java"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {status}\n")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    return folder


def test_without_java_it_says_what_to_install_before_anything_is_written(folder, monkeypatch):
    (folder / "empty").mkdir()
    monkeypatch.setenv("PATH", str(folder / "empty"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    refused(r"engine: spark: expected Java 17 or newer, got no 'java' on the PATH, and no JAVA_HOME - install Java 17 \('apt install openjdk-17-jre-headless'")
    monkeypatch.setenv("JAVA_HOME", str(folder / "elsewhere"))
    refused(r"no bin/java in JAVA_HOME \(.*elsewhere\)")
    write_jsonl(folder / "a.jsonl", [{"text": "a text"}])
    stage = {"source": SOURCE, "engine": SPARK}
    with pytest.raises(RequestError, match="Java 17"):
        execute(parse({"name": "x", "stages": [{"corpus": stage}]}, Place()), "run", console=Console(quiet=True))
    assert not Path("run").exists()


@pytest.mark.parametrize(("says", "status", "match"), [
    ('openjdk version "11.0.2" 2019-01-15', 0, r"got Java 11 \("), ('java version "1.8.0_392"', 0, r"got Java 8 \("), ("no runtime present", 1, "which does not run"),
])  # fmt: skip
def test_java_that_is_too_old_or_broken(folder, monkeypatch, says, status, match):
    monkeypatch.setenv("JAVA_HOME", str(java(folder / "home", says, status)))
    refused(match)


@pytest.mark.parametrize("says", ['openjdk version "17.0.21" 2026-11-17', 'Picked up JAVA_TOOL_OPTIONS: -Dx\nopenjdk version "25" 2025-09-16'])
def test_java_that_is_new_enough(folder, monkeypatch, says):
    monkeypatch.setenv("JAVA_HOME", str(java(folder / "home", says)))
    create("engine", SPARK).check()


@pytest.mark.parametrize("version", ["2.1.4", "3.0.0", "1.5.3"])
def test_pandas_that_spark_does_not_work_with(monkeypatch, version):
    import pandas

    monkeypatch.setattr(pandas, "__version__", version)
    refused(rf"expected pandas 2, 2\.2 or newer \(Spark works with no other\), got {version} - pip install 'yanmo\[spark\]'")


@pytest.mark.parametrize("name", ["pandas", "pyspark"])
def test_a_library_that_is_missing(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    refused(rf"the library '{name}', got not installed - pip install 'yanmo\[spark\]'")


def test_settings_that_spark_would_not_understand():
    for wrong, match in (({"master": "sc://host:15002"}, r"local\[n\], spark://host:port, yarn or k8s"), ({"master": "local[two]"}, "local"),
                         ({"settings": {"executor.memory": "4g"}}, r"begin with 'spark\.'"), ({"partitions": 0}, "at least 1")):  # fmt: skip
        with pytest.raises(RecipeError, match=match):
            create("engine", {"type": "spark", **wrong})
    plain, other = create("engine", SPARK), create("engine", {**SPARK, "master": "yarn", "settings": {"spark.executor.cores": 4}, "partitions": 9})
    assert settings_of(plain) == settings_of(other), "how the work is done is no part of what is made"


# ---------------------------------------------------------------------------------------------- what travels

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=300, deadline=None)
@given(st.one_of(*(st.tuples(kind, kind) for kind in (NUMBERS, TEXTS, st.binary(), st.tuples(TEXTS, NUMBERS), st.tuples(st.binary(), TEXTS)))))
def test_keys_as_bytes_sort_as_keys_do(pair):
    one, two = pair
    a, b = work.sortable(one), work.sortable(two)
    assert (a < b, a == b) == (one < two, one == two)


def test_keys_of_other_types_are_refused():
    for key in (None, [1], Document("", "", Origin("", None, 0, 0))):
        with pytest.raises(TypeError, match="keys are int, float, str, bytes or tuples"):
            work.sortable(key)


def test_errors_come_out_of_a_message_of_javas_as_they_went_in():
    for error in (DataError("a.jsonl:3", "this", "that", "do so"), OSError(28, "No space left on device")):
        message = f"Job aborted.\nLost task 0.0: Traceback\n  {work.ExecutorError.of(error)}\n\tat org.apache.spark.Task"
        found = work.ExecutorError.within(message)
        assert type(found) is type(error)
        assert str(found) == str(error)
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError as error:
        found = work.ExecutorError.within(str(work.ExecutorError.of(error)))
    assert isinstance(found, RuntimeError)
    assert "a bug" in str(found)
    assert "Traceback" in str(found)
    assert work.ExecutorError.within("Connection refused") is None


# ---------------------------------------------------------------------------------------------- the operations


@pytest.fixture(scope="module")
def spark():
    """A session that the user has started: the engine uses it and leaves it running."""
    from pyspark.sql import SparkSession

    options = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.log.level": "FATAL", "spark.ui.showConsoleProgress": "false",
               "spark.executorEnv.PYTHONPATH": str(ROOT), "spark.sql.shuffle.partitions": "5"}  # fmt: skip
    before = signal.getsignal(signal.SIGINT), os.environ.get("PYSPARK_PYTHON")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").appName("a user's")
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
    end_java()
    signal.signal(signal.SIGINT, before[0])
    if before[1] is None:
        del os.environ["PYSPARK_PYTHON"]


def end_java() -> None:
    from yanmo.corpus.engines.spark_start import _end_java

    _end_java()


@contextmanager
def on(engine: dict, folder: Path):
    with create("engine", engine).session(folder, Console(quiet=True)) as session:
        yield session.read([create("source", SOURCE)])


LOCAL = {"type": "local", "workers": 1}


@pytest.fixture
def bodies(folder, monkeypatch):
    found = texts(150, seed=11)
    write_jsonl(folder / "a.jsonl", [{"text": body, "n": i, "鍵": ["值", 1.5]} for i, body in enumerate(found)])
    small_shards(monkeypatch, 5000)
    return found


def plans(docs):
    """Every operation, over rows and keys of every type."""
    words = docs.map(functions.words)
    counts = words.group(functions.head, functions.one, functions.add)
    letters = docs.map(functions.letters)
    few = counts.map(functions.frequent)
    return {
        "read": docs,
        "map": words,
        "types": letters,
        "persisted": docs.persist().map(functions.letters),
        "none": docs.map(functions.nothing),
        "group by text": counts,
        "group by number": words.group(functions.order_of, functions.one, functions.add),
        "group by bytes": letters.group(functions.bytes_of, functions.halves, functions.sum_halves),
        "group of few": words.group(functions.some_heads, functions.one, functions.add),
        "group of none": docs.map(functions.nothing).group(functions.head, functions.one, functions.add),
        "concatenated": letters.group(functions.bytes_of, functions.second, Concatenation()),
        "by place": docs.persist().join(docs.map(functions.every_third), by_place).map(functions.joined),
        "left": docs.join(counts, functions.first_word).map(functions.joined),
        "anti": docs.join(few, functions.first_word, "anti"),
        "left of persisted": docs.persist().join(few, functions.first_word).map(functions.joined),
        "given": docs.join([(body.split()[0], (99, 1.5)) for body in ("3 a", "the b")], functions.first_word).map(functions.joined),
        "given none": docs.join([], functions.first_word, "anti"),
        "anti of none": docs.join(few.map(functions.nothing), functions.first_word, "anti"),
        "left on numbers": words.join(words.group(functions.order_of, functions.one, functions.add), functions.order_of).map(functions.joined_rows),
        "sort by number": words.sort(functions.length_of),
        "sort by text": docs.sort(functions.text_backwards),
        "sort by both": words.sort(functions.length_and_head),
        "sort of none": docs.map(functions.nothing).sort(functions.head),
        "sort of a group": counts.sort(functions.least),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("targets", [None, 3])
def test_every_operation_gives_the_rows_of_the_local_engine_in_their_order(spark, bodies, folder, targets):
    with on(LOCAL, folder / "local") as docs:
        expected = {name: list(plan.collect()) for name, plan in plans(docs).items()}
    assert all(rows or "none" in name for name, rows in expected.items())
    with on({**SPARK, "partitions": targets}, folder / "spark") as docs:
        for name, plan in plans(docs).items():
            found = list(plan.collect())
            assert found == expected[name], name
            assert [types(row) for row in found] == [types(row) for row in expected[name]], name


def types(row):
    return [types(item) for item in row] if isinstance(row, tuple) else type(row)


@pytest.mark.slow
@pytest.mark.spark
def test_the_users_session_is_used_and_left_as_it_was(spark, bodies, folder):
    before = {name: spark.conf.get(name) for name in ("spark.sql.adaptive.enabled", "spark.sql.shuffle.partitions", "spark.sql.execution.arrow.maxRecordsPerBatch")}
    with on({**SPARK, "master": "spark://nobody:7077"}, folder / "spark") as docs:
        assert [doc.text for doc in docs.sort(functions.text_backwards).collect()] == sorted(bodies, key=lambda body: body[::-1])
    assert {name: spark.conf.get(name) for name in before} == before
    assert spark.range(10).count() == 10, "it is still running"


# ---------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.slow
@pytest.mark.spark
def test_errors_come_back_from_executors(spark, bodies, folder):
    with on(SPARK, folder / "a") as docs:
        with pytest.raises(DataError, match=r"^somewhere: expected this, got that$"):
            list(docs.map(functions.fail).collect())
        with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ZeroDivisionError: a bug"):
            list(docs.map(functions.crash).collect())
        with pytest.raises(RuntimeError, match="flat tuples of int, float, str and bytes, not Document"):
            list(docs.join([], functions.first_word).collect())
        with pytest.raises(RuntimeError, match="once on its right side, 'a' is there twice"):
            list(docs.join([("a", 1), ("a", 2)], functions.first_word).map(functions.joined).collect())
        with pytest.raises(TypeError, match="lambda"):
            list(docs.map(lambda rows: rows).collect())
        assert len(list(docs.collect())) == len(bodies), "and work goes on"


@pytest.mark.slow
@pytest.mark.spark
def test_an_executor_that_dies_is_an_error_with_a_remedy(spark, bodies, folder):
    with on(SPARK, folder / "a") as docs, pytest.raises(WorkError, match=r"a Spark job: expected an answer, got .* - if memory ran out") as caught:
        list(docs.map(functions.die).collect())
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------- the whole stage


def corpus(source, run: str, engine: dict, steps=STEPS) -> Path:
    return made(source, run, steps=steps, engine=engine)




@pytest.fixture
def mixed(folder):
    """English and Chinese in four formats, with copies, near copies across the formats, and rows that cannot be read."""
    import csv

    import pyarrow as pa
    import pyarrow.parquet as parquet

    rng = random.Random(71)
    bodies = [english(rng, rng.randint(40, 200)) if i % 2 else chinese(rng, rng.randint(30, 200)) for i in range(150)] + texts(100, seed=71)
    near = [body[:-9] + " changed" for body in bodies if len(body) > 150]
    pool = [*bodies, *rng.choices(bodies, k=50), *near, "  spaces \r\n\r\n\r\n\r\nand lines  ", "短"]
    rng.shuffle(pool)
    quarter = len(pool) // 4
    lines: list = [{"text": body, "n": i, "url": f"https://例子.org/{i}"} for i, body in enumerate(pool[:quarter])]
    lines[7:7] = ["{broken", {"text": None}, b'{"text": "\xff"}', {"body": "elsewhere"}]
    write_jsonl(folder / "a.jsonl", lines)
    table = [{"body": body, "n": i / 3} for i, body in enumerate(pool[quarter : 2 * quarter])]
    parquet.write_table(pa.Table.from_pylist([*table, {"body": None, "n": 0.5}]), folder / "b.parquet", row_group_size=20)
    with open(folder / "c.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "n"])
        writer.writerows([body, i] for i, body in enumerate(pool[2 * quarter : 3 * quarter]))
    (folder / "d").mkdir()
    for i, body in enumerate(pool[3 * quarter :]):
        (folder / "d" / f"{i:03d}.txt").write_bytes(body.encode())
    (folder / "d" / "bad.txt").write_bytes(b"caf\xe9 \xff\xfe\x80")
    return [{"type": "jsonl", "path": "a.jsonl"}, {"type": "parquet", "path": "b.parquet", "fields": {"text": "body"}}, {"type": "csv", "path": "c.csv"},
            {"type": "text", "path": "d", "blocks": False, "licence": "CC0-1.0"}]  # fmt: skip


@pytest.mark.slow
@pytest.mark.spark
def test_the_corpus_is_the_same_to_the_byte(spark, mixed, monkeypatch):
    small_shards(monkeypatch, 8000)
    one, two = corpus(mixed, "one", LOCAL), corpus(mixed, "two", {"type": "local", "workers": 2})
    cluster = corpus(mixed, "cluster", {**SPARK, "partitions": 4})
    assert outputs(one) == outputs(two) == outputs(cluster)
    assert {"documents/00000.parquet", "dropped/00000.parquet", "quarantined/00000.parquet", "stats.json"} == set(outputs(cluster))
    stats = json.loads((cluster / "stats.json").read_text())
    assert {"exact_dedup.duplicate", "minhash_dedup.near_duplicate", "sample.not_sampled", "length.too_short"} <= set(stats["dropped"])
    assert not list(Path("cluster").rglob(".tmp-*"))
    assert not list(Path("cluster").rglob("*.tasks"))


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize(("first", "second"), [(LOCAL, SPARK), (SPARK, LOCAL)])
def test_one_engine_takes_up_what_the_other_left(spark, bodies, folder, first, second):
    def collected(docs):
        counts = docs.map(functions.words).group(functions.head, functions.one, functions.add)
        return [list(plan.collect()) for plan in (docs, counts, docs.persist().join(counts, functions.first_word).map(functions.joined), docs.sort(functions.text_backwards))]

    with on(first, folder / "parts") as docs:
        expected = collected(docs)
    made = {path: path.stat().st_mtime_ns for path in (folder / "parts").rglob("*.arrow")}
    with on(second, folder / "parts") as docs:
        assert collected(docs) == expected
    assert {path: path.stat().st_mtime_ns for path in (folder / "parts").rglob("*.arrow")} == made, "nothing is made again"
    for folder_of_one in (folder / "parts").glob("*-*"):  # as a kill leaves it: operations without their list, some files there
        (folder_of_one / "done.json").unlink()
        for number, path in enumerate(sorted(folder_of_one.rglob("*.arrow"))):
            if "persist" in folder_of_one.name and number % 2:
                path.unlink()
    with on(second, folder / "parts") as docs:
        assert collected(docs) == expected
    again = {path: path.stat().st_mtime_ns for path in (folder / "parts").rglob("*.arrow")}
    parts = [path for path in again if "persist" in path.parent.name and made.get(path) == again[path]]
    assert parts, "the parts that were there were used"


RUN = """
import json, sys
from tests.corpus.corpora import small_shards
from tests.corpus.test_spark import corpus

class Patch:
    setattr = staticmethod(setattr)

small_shards(Patch, 8000)
corpus(json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
"""


def start(source, run: str, engine: dict) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, json.dumps(source), run, json.dumps(engine)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def children(pid: int) -> set[int]:
    """Every process below `pid`."""
    found, parents = set(), {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    todo = [pid]
    while todo:
        parent = todo.pop()
        below = {child for child, of in parents.items() if of == parent} - found
        found |= below
        todo += below
    return found


@pytest.mark.slow
@pytest.mark.spark
def test_a_session_of_our_own_is_quiet_and_leaves_no_process(mixed, monkeypatch):
    small_shards(monkeypatch, 8000)
    expected = outputs(corpus(mixed, "local", LOCAL))
    process = start(mixed, "cluster", {**SPARK, "settings": {"spark.driver.memory": "700m"}})
    seen: set[int] = set()
    while process.poll() is None:
        seen |= children(process.pid)
        time.sleep(0.2)
    said, shown = process.communicate()
    assert process.returncode == 0, shown
    assert len(seen) > 2, "Java, and Python under it"
    assert (said, shown) == ("", "")
    assert outputs(Path("cluster/corpus")) == expected
    assert not (Path("cluster/corpus/parts/spark")).exists()
    assert not any(alive(pid) for pid in seen)


@pytest.mark.slow
@pytest.mark.spark
def test_killed_on_spark_it_goes_on_on_either_engine(mixed, monkeypatch):
    small_shards(monkeypatch, 8000)
    expected = outputs(corpus(mixed, "local", LOCAL))
    for number, (wanted, second) in enumerate(((3, LOCAL), (12, SPARK))):
        run = f"killed-{number}"
        process = start(mixed, run, SPARK)
        while process.poll() is None and len(list(Path(run).rglob("*.arrow"))) < wanted:
            time.sleep(0.05)
        below = children(process.pid)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        if second is LOCAL:
            assert outputs(corpus(mixed, run, second)) == expected, "while what was left behind may still be ending"
        else:
            again = start(mixed, run, second)
            assert again.communicate()[1] == ""
            assert outputs(Path(run) / "corpus") == expected
        deadline = time.monotonic() + 20
        while any(alive(pid) for pid in below) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(alive(pid) for pid in below), "nothing outlives a killed run"
