"""The vocabulary against plain Python, for one worker and for two; what workers do when something goes wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tests.corpus import functions
from tests.corpus.corpora import dataset, small_shards, texts, write_jsonl
from yanmo.core.console import Console
from yanmo.core.data import Document
from yanmo.core.errors import DataError, WorkError
from yanmo.core.registry import create
from yanmo.corpus.dataset import by_place
from yanmo.corpus.engines import session as sessions
from yanmo.corpus.engines import tasks
from yanmo.corpus.engines.hold import Hold
from yanmo.corpus.engines.local import LocalEngine
from yanmo.corpus.engines.pool import Pool
from yanmo.corpus.step import apply

SOURCE = {"type": "jsonl", "path": "a.jsonl"}


@pytest.fixture
def bodies(folder, monkeypatch):
    found = texts(150, seed=11)
    write_jsonl(folder / "a.jsonl", [{"text": body} for body in found])
    small_shards(monkeypatch)
    return found


@pytest.fixture(params=[(1, "small"), (2, "small"), (1, "large"), (2, "large")], ids=str)
def docs(request, bodies, folder, monkeypatch):
    """`large`: with the files between passes that much data has, and no short cut."""
    workers, size = request.param
    if size == "large":
        as_for_large_data(monkeypatch)
    with dataset(folder / "parts", SOURCE, workers) as found:
        yield found


def as_for_large_data(monkeypatch):
    for name, value in (("WHOLE", 0), ("SMALL", 1000), ("SPILLS", 0)):
        monkeypatch.setattr(sessions, name, value)


def test_read_keeps_one_global_order(docs, bodies):
    rows = list(docs.collect())
    assert [doc.text for doc in rows] == bodies
    orders = [doc.order for doc in rows]
    assert orders == sorted(set(orders))
    assert len({order >> 32 for order in orders}) > 5, "many partitions"


def test_map_group_and_sort(docs, bodies):
    rows = list(docs.collect())
    plain = list(functions.words(iter(rows)))
    words = docs.map(functions.words)
    assert list(words.collect()) == plain
    grouped: dict[str, list] = defaultdict(list)
    for row in plain:
        if len(row[0]) > 3:
            grouped[row[0]].append(functions.one(row))
    found = dict(words.group(functions.some_heads, functions.one, functions.add).collect())
    assert found == {key: (len(rows), key[:1], min(row[2] for row in rows)) for key, rows in grouped.items()}
    assert list(words.sort(functions.length_of).collect()) == sorted(plain, key=functions.length_of)
    assert [doc.text for doc in docs.sort(functions.text_backwards).collect()] == sorted(bodies, key=lambda b: b[::-1])


def test_joins(docs):
    rows = list(docs.collect())
    counts = docs.map(functions.words).group(functions.head, functions.one, functions.add)
    expected = dict(counts.collect())
    found = list(docs.join(counts, functions.first_word).map(functions.joined).collect())
    assert found == [(doc.order, doc.text, expected[functions.first_word(doc)][0] if doc.text.split() else -1) for doc in rows]
    some = counts.map(functions.frequent)
    frequent = {key for key, value in expected.items() if value[0] > 2}
    assert 0 < len(frequent) < len(expected)
    without = list(docs.join(some, functions.first_word, "anti").collect())
    assert without == [doc for doc in rows if functions.first_word(doc) not in frequent]
    given = docs.join([(rows[3].text.split()[0], (99, 1.5))], functions.first_word).map(functions.joined).collect()
    assert {row[2] for row in given} == {-1, 99}
    assert list(docs.join([], functions.first_word, "anti").collect()) == rows
    assert list(docs.join(counts.map(functions.nothing), functions.first_word, "anti").collect()) == rows
    inner = docs.join(some, functions.first_word, "inner").map(functions.joined).collect()
    assert list(inner) == [row for row in found if row[2] > 2]


@pytest.mark.parametrize("how", ["left", "inner", "anti"])
def test_joins_by_place(docs, how):
    """Of stored rows and of others, with values that were worked out and with values at hand, with many, and with none."""
    rows = list(docs.collect())
    own = dict(functions.every_third(iter(rows)))

    def expected(values: dict) -> list:
        if how == "left":
            return [(doc.order, doc.text, values.get(doc.order, (-1,))[0]) for doc in rows]
        return [(doc.order, doc.text, values[doc.order][0] if how == "inner" else -1)
                for doc in rows if (doc.order in values) == (how == "inner")]  # fmt: skip

    made = functions.joined if how != "anti" else functions.alone
    few = {order: own[order] for order in sorted(own)[-3:]}
    for left in (docs, docs.persist()):
        for right, values in ((docs.map(functions.every_third), own), (list(own.items()), own), (list(few.items()), few), ([], {})):
            assert list(left.join(right, by_place, how).map(made).collect()) == expected(values)
    assert 0 < len(own) < len(rows)


def test_a_map_across_partitions_gives_a_group_the_same(docs):
    words = list(functions.words(docs.collect()))
    counts = defaultdict(int)
    for row in words:
        counts[row[0]] += 1
    stored = docs.map(functions.words).persist()
    for across in (False, True):
        found = dict(stored.map(functions.counted, across).group(functions.head, functions.second, functions.plus).collect())
        assert found == counts


def test_a_group_of_more_pairs_than_are_held_goes_over_spills(docs, folder, monkeypatch):
    expected = list(docs.map(functions.words).group(functions.head, functions.one, functions.add).collect())
    monkeypatch.setattr(tasks, "FEW", len(expected) - 1)
    with dataset(folder / "other", SOURCE) as other:
        assert list(other.map(functions.words).group(functions.head, functions.one, functions.add).collect()) == expected
    assert not list((folder / "other").rglob("all.arrow"))
    monkeypatch.setattr(tasks, "FEW", len(expected))
    monkeypatch.setattr(sessions, "WHOLE", 1 << 20)
    with dataset(folder / "third", SOURCE) as third:
        assert list(third.map(functions.words).group(functions.head, functions.one, functions.add).collect()) == expected
    assert list((folder / "third").rglob("all.arrow"))


def test_rows_of_a_part_by_their_numbers(folder, monkeypatch):
    monkeypatch.setattr(tasks.parts, "BATCH_ROWS", 7)
    rows = [(number, f"{number} 字 👩", bytes([number]), (number / 3, "x")) for number in range(40)]
    tasks.parts.write(folder / "a.arrow", rows)
    for wanted in ([], [0], [39, 3, 6, 7], range(40), [13, 14, 27]):
        assert list(tasks.parts.read_at(folder / "a.arrow", wanted)) == [rows[number] for number in sorted(wanted)]


def test_spills_gathered_hold_the_rows_of_their_sections(folder):
    rng = random.Random(1)
    rows = [[(section, (section, number, b"\0" * section)) for number in range(rng.randrange(4))] for section in range(60)]
    paths = []
    for name in range(4):
        paths.append(folder / f"{name}.arrow")
        tasks.parts.write_spill(paths[-1], (pair for pairs in rows for pair in pairs if pair[1][1] == name))
    held = sum(map(len, rows[10:50]))
    assert tasks.parts.gather(folder / "all.arrow", paths, 10, 50) == held
    assert sum(tasks.parts.sections(folder / "all.arrow").values()) == held
    for section in range(60):
        found = [row for batch in tasks.parts.read_spill(folder / "all.arrow", section, section + 1) for row in tasks.parts.decode(batch)]
        assert sorted(found) == ([row for _, row in rows[section]] if 10 <= section < 50 else [])
    assert tasks.parts.gather(folder / "none.arrow", paths, 70, 80) == 0
    assert tasks.parts.sections(folder / "none.arrow") == {}


def test_rows_of_every_type_survive_the_files(docs):
    plain = list(functions.letters(docs.collect()))
    assert list(docs.map(functions.letters).collect()) == plain
    assert list(docs.map(functions.nothing).collect()) == []
    assert list(docs.map(functions.nothing).group(functions.head, functions.one, functions.add).collect()) == []
    assert list(docs.map(functions.nothing).sort(functions.head).collect()) == []


def test_rows_that_cannot_be_written_are_named(docs):
    given = docs.join([], functions.first_word)
    with pytest.raises((TypeError, RuntimeError), match="flat tuples of int, float, str and bytes, not Document"):
        list(given.collect())


def test_a_join_refuses_a_key_that_is_there_twice(docs):
    with pytest.raises((AssertionError, RuntimeError), match="once on its right side"):
        list(docs.join([("a", 1), ("a", 2)], functions.first_word).map(functions.joined).collect())


def test_many_ranges_and_merges(bodies, folder, monkeypatch):
    """The same with spills flushed, ranges cut and merges staged as for large data."""
    with dataset(folder / "large", SOURCE) as docs:
        whole = [list(plan.collect()) for plan in plans(docs)]
    as_for_large_data(monkeypatch)
    monkeypatch.setattr(sessions, "RANGE_ROWS", 200)
    monkeypatch.setattr(sessions, "MERGED", 2)
    monkeypatch.setattr(tasks, "COMBINED", 30)
    monkeypatch.setattr(tasks.parts, "BATCH_ROWS", 5)
    monkeypatch.setattr(tasks.parts.write_spill, "__defaults__", (40,))
    with dataset(folder / "small", SOURCE) as docs:
        for plan, expected in zip(plans(docs), whole):
            assert list(plan.collect()) == expected
    ranges = list((folder / "small").glob("*-group/*.arrow"))
    assert len(ranges) > 5
    assert max((folder / "small").glob("*-sort/00000.arrow")).is_file()


def test_ranges_are_bounded_by_bytes_too(folder):
    """A few keys with large values (the bands of MinHash) are no smaller a task than many keys with small ones."""
    rows = [(key % sessions.SECTIONS, (key, bytes(1 << 16))) for key in range(512)]
    tasks.parts.write_spill(folder / "spill.arrow", iter(rows))
    found = sessions.ranges([folder / "spill.arrow"])
    assert [first for first, _, _ in found[1:]] == [last for _, last, _ in found[:-1]]
    assert sum(held for _, _, held in found) == 512
    assert max(held for _, _, held in found) * (1 << 16) <= sessions.RANGE_BYTES
    assert len(found) >= 4


def test_small_partitions_are_worked_on_together():
    """All of them, in order; a name says which, so that another cut does not find the file of this one."""
    scans = [tasks.FileScan(Path(f"{n}"), size) for n, size in enumerate([sessions.SMALL, 1, 2, sessions.SMALL - 3, 5, sessions.SMALL, 7])]
    found = dict(sessions.together(scans))
    assert list(found) == ["00000-00000.arrow", "00001-00003.arrow", "00004-00005.arrow", "00006-00006.arrow"]
    assert [scan.size for scan in found.values()] == [sessions.SMALL, sessions.SMALL, sessions.SMALL + 5, 7]
    assert found["00001-00003.arrow"].scans == tuple(scans[1:4])
    assert dict(sessions.together([])) == {}


def plans(docs):
    words = docs.map(functions.words)
    counts = words.group(functions.head, functions.one, functions.add)
    return [counts, docs.join(counts, functions.first_word).map(functions.joined), words.sort(functions.length_of)]


@pytest.mark.parametrize("workers", [1, 2])
def test_documents_are_stored_once_however_many_steps_compare_them(bodies, folder, workers, monkeypatch):
    """What a step found is brought to the stored documents whenever they are read; a step that edits them stores them again."""
    write_jsonl(folder / "a.jsonl", [{"text": body} for body in [*bodies, *bodies[::3], *(body + " 尾 end" for body in bodies[::4])]])
    steps = [create("step", {"type": name}) for name in ("exact_dedup", "minhash_dedup")]

    def made(name: str, stored: int, steps=steps) -> list:
        with dataset(folder / name, SOURCE, workers) as docs:
            found = apply(steps, docs).persist()
            rows = list(found.collect())
            assert list(found.collect()) == rows
        first = [next(path.glob("*.arrow")) for path in (folder / name).glob("*-persist")]
        assert sum(isinstance(next(tasks.parts.read(path)), Document) for path in first) == stored
        return rows

    rows = made("once", 1)
    assert {doc.rejection.step for doc in rows if doc.rejection} == {"exact_dedup", "minhash_dedup"}
    edited = [steps[0], create("step", {"type": "normalize"}), steps[1]]
    assert [doc.order for doc in made("edited", 2, edited)] == [doc.order for doc in rows]
    monkeypatch.setattr(sessions, "light", lambda plan: False)
    assert made("always", 3) == rows


def test_a_partition_opens_the_files_that_speak_of_it_and_no_other(folder):
    for number, of in enumerate(([0, 1, 1], [], [1, 300])):
        tasks.parts.write_spill(folder / f"{number}.arrow", ((index, (index, 7, "x")) for index in of))
    paths = [folder / f"{number}.arrow" for number in range(3)]
    assert sessions.by_partition(paths) == {0: [paths[0]], 1: [paths[0], paths[2]], 300: [paths[2]]}


# ---------------------------------------------------------------------------------------------- interrupted work


def test_a_finished_part_is_not_made_again_and_a_missing_one_is(bodies, folder):
    with dataset(folder / "parts", SOURCE) as docs:
        expected = list(docs.collect())
    made = sorted((folder / "parts").glob("*-persist/*.arrow"))
    times = {path: path.stat().st_mtime_ns for path in made}
    made[2].unlink()
    (made[0].parent / "done.json").unlink()
    (made[0].parent / ".tmp-dead").write_bytes(b"half a file")
    with dataset(folder / "parts", SOURCE) as docs:
        assert list(docs.collect()) == expected
    assert {path for path in made if path.stat().st_mtime_ns != times[path]} == {made[2]}


def test_parts_of_another_version_are_not_used(bodies, folder, monkeypatch):
    with dataset(folder / "parts", SOURCE) as docs:
        expected = list(docs.collect())
    for path in (folder / "parts").glob("*-persist/*.arrow"):
        path.write_bytes(b"not to be read")
    monkeypatch.setattr(sessions, "FORMAT", 99)
    with dataset(folder / "parts", SOURCE) as docs:
        assert list(docs.collect()) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_come_back_from_workers(bodies, folder, workers):
    with dataset(folder / "a", SOURCE, workers) as docs, pytest.raises(DataError, match="somewhere: expected this, got that"):
        list(docs.map(functions.fail).collect())
    with dataset(folder / "b", SOURCE, workers) as docs, pytest.raises((ZeroDivisionError, RuntimeError), match="a bug"):
        list(docs.map(functions.crash).collect())


def test_a_worker_that_dies_is_an_error_with_a_remedy(bodies, folder):
    with dataset(folder / "a", SOURCE, 2) as docs:
        with pytest.raises(WorkError, match=r"corpus worker: .* ended with status -9 - if memory ran out, set engine: \{type: local, workers: 1\}"):
            list(docs.map(functions.die).collect())
        processes = docs.session.pool.processes
    assert all(process.poll() is not None for process in processes), "none is left behind"


def test_a_lambda_cannot_travel_and_says_so(bodies, folder):
    with dataset(folder / "a", SOURCE, 2) as docs, pytest.raises(TypeError, match="lambda"):
        list(docs.map(lambda rows: rows).collect())


def test_what_a_step_prints_does_not_disturb_the_answers(bodies, folder, capfd):
    with dataset(folder / "a", SOURCE, 2) as docs:
        assert len(list(docs.map(functions.talk).collect())) == len(bodies)
    assert "a step that prints" in capfd.readouterr().err


@pytest.fixture
def pool():
    pool = Pool(2)
    yield pool
    pool.close()


@pytest.mark.parametrize(("count", "most"), [(60, 2), (8, 1)])
def test_small_tasks_are_handed_out_ahead_while_there_are_plenty(pool, count, most):
    """Each answer once and with its own task; of a few tasks none waits behind another."""
    found, ahead = {}, []
    for task, answer in pool.run([functions.Square(number) for number in range(count)]):
        assert answer == task.number**2
        found[task.number] = answer
        ahead.append(max(map(len, pool.busy.values())))
    assert sorted(found) == list(range(count))
    assert (max(ahead), ahead[-1]) == (most, 0)


def test_an_error_with_tasks_handed_out_ahead_ends_the_work(pool):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        for _ in pool.run([functions.Square(n, fails=n == 30) for n in range(60)]):
            pass


def test_workers_end_at_once_and_end_what_they_started(pool, folder):
    """What they registered with `atexit` is done, although they do not take their memory apart."""
    assert len(list(pool.run([functions.Mess(str(folder / f"{n}")) for n in range(2)]))) == 2
    began = time.monotonic()
    processes = pool.processes
    pool.close()
    assert time.monotonic() - began < 3
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(path.read_text() for path in folder.iterdir()) == ["ended", "ended"]


SCRIPT = """
import sys, time
from pathlib import Path
from tests.corpus.corpora import dataset

print("begun", flush=True)
with dataset(Path("parts"), {"type": "jsonl", "path": "a.jsonl"}, 2) as docs:
    session = docs.session
    list(docs.collect())
    print(*(process.pid for process in session.pool.processes), flush=True)
    time.sleep(60)
"""


def test_workers_need_no_main_guard_and_end_with_a_killed_parent(folder):
    """A script without `if __name__ == "__main__"` around the work; its workers do not outlive a SIGKILL."""
    from yanmo.corpus import source

    write_jsonl(folder / "a.jsonl", [{"text": "word " * 1000} for _ in range(2 * source.SHARD_BYTES // 4000)])
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "script.py"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "begun\n"
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    assert all(alive(pid) for pid in workers)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie that nobody waits for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


LATE = "import pathlib, sys, time; time.sleep(0.6); pathlib.Path(sys.argv[1], '.tmp-late').write_bytes(b'half')"


def test_a_session_waits_for_workers_that_a_killed_one_left_behind(folder, capfd):
    """They may still write; what they leave unfinished is removed, and not taken for anybody's."""
    first = Hold(folder / "parts", Console())
    late = subprocess.Popen([sys.executable, "-c", LATE, "parts"], pass_fds=[first.number])
    first.close()  # as a kill closes it
    assert capfd.readouterr().err == ""
    second = Hold(folder / "parts", Console())
    try:
        assert late.wait(10) == 0
        assert [path.name for path in Path("parts").iterdir()] == [".workers"]
        assert "waiting for the workers of a run that was killed" in capfd.readouterr().err
    finally:
        second.close()
    Hold(folder / "parts", Console()).close()
    assert capfd.readouterr().err == ""


def test_the_folder_is_free_when_a_session_has_ended_with_its_workers(bodies, folder, capfd):
    for _ in range(2):
        with LocalEngine(workers=2).session(folder / "parts", Console()) as session:
            assert len(list(session.read([create("source", SOURCE)]).map(functions.talk).collect())) == len(bodies)
    assert "waiting" not in capfd.readouterr().err
