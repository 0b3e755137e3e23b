"""The corpus stage, end to end: the same bytes for any number of workers and after any kill; bad data; bounded memory."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.corpus.corpora import OUTPUTS, made, outputs, small_shards, texts, write_jsonl
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.verify import verify
from yanmo.corpus import documents

STEPS = ["normalize", {"type": "length", "min_chars": 12}, "exact_dedup", "minhash_dedup"]
BESIDE = ("begun.json", "corpus.html", "cost.json", "manifest.json", "parts")


def corpus(source, run: str = "run", steps=STEPS, workers: int = 1, **settings) -> Path:
    return made(source, run, **{"steps": steps, "engine": {"type": "local", "workers": workers}, **settings})


@pytest.fixture
def source(folder):
    """Two sources in both languages with duplicates, near-duplicates and bad lines."""
    rng, bodies = random.Random(51), texts(260, seed=51)
    bodies += rng.choices(bodies, k=40) + [body + " 尾 end" for body in bodies if len(body) > 250]
    rng.shuffle(bodies)
    lines: list = [{"text": body, "n": i} for i, body in enumerate(bodies)]
    lines[7:7] = ["{broken", {"text": None}, b'{"text": "\xff"}', {"body": "elsewhere"}]
    write_jsonl(folder / "a.jsonl", lines)
    (folder / "b").mkdir()
    for name, body in (("zh", "却说曹操引军而来。\n\n" * 9000), ("en", "Call me Ishmael, said he.\n\n" * 6000)):
        paragraphs = [f"{i} {p}" for i, p in enumerate(body.split("\n\n"))]
        (folder / "b" / f"{name}.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    return [{"type": "jsonl", "path": "a.jsonl"}, {"type": "text", "path": "b", "licence": "CC0-1.0"}]


def test_what_a_finished_stage_holds(source):
    folder = corpus(source)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*OUTPUTS, *BESIDE])
    stats = json.loads((folder / "stats.json").read_text())
    assert stats["in"] == stats["kept"] + sum(stats["dropped"].values()) + sum(stats["quarantined"].values())
    assert set(stats["quarantined"]) == {"bad_json", "null_text", "invalid_encoding", "missing_field"}
    assert {"exact_dedup.duplicate", "minhash_dedup.near_duplicate"} <= set(stats["dropped"])
    assert [s["name"] for s in stats["sources"]] == ["a.jsonl", "b"]
    assert stats["sources"][1]["in"] == stats["sources"][1]["kept"] == sum(1 for row in documents.iterate(folder) if row["source"] == "b") > 4
    assert all(s["splits"]["validation"]["documents"] for s in stats["sources"])
    for row in documents.iterate(folder):
        data = documents.original(row).decode()
        read = json.loads(data)["text"] if row["source"] == "a.jsonl" else data
        assert " ".join(row["text"].split()) == " ".join(read.split())
    assert verify("run")["ok"]


def test_the_same_bytes_for_one_worker_and_for_two(source, monkeypatch):
    small_shards(monkeypatch, 40_000)
    one, two = corpus(source, "one", workers=1), corpus(source, "two", workers=2)
    assert outputs(one) == outputs(two)
    assert len(outputs(one)) == 4


def test_how_the_input_is_cut_does_not_show(source, monkeypatch):
    large = corpus(source[:1], "large")
    small_shards(monkeypatch, 8000)
    assert outputs(large) == outputs(corpus(source[:1], "small"))


def test_workers_and_engine_are_no_difference_but_a_source_is(source):
    folder = corpus(source)
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert corpus(source, workers=2) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    with open("a.jsonl", "ab") as handle:
        handle.write(b'{"text": "one more line of text"}\n')
    with pytest.raises(Exception, match=r"a\.jsonl has changed"):
        corpus(source)


# ---------------------------------------------------------------------------------------------- bad requests and data


def refused(match: str, source, **settings) -> None:
    """A DataError or RecipeError before anything is written."""
    with pytest.raises((DataError, RecipeError), match=match) as caught:
        corpus(source, "refused", **settings)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    assert not Path("refused").exists()


def test_wrong_requests_stop_before_anything_is_written(folder, source):
    refused("no such path: nowhere", {"type": "jsonl", "path": "nowhere"})
    (folder / "empty").mkdir()
    refused(r"files \(.*\.jsonl.*\) in the folder empty, got none", {"type": "jsonl", "path": "empty"})
    (folder / "blank.txt").write_text("")
    refused("expected some text, got only empty files", {"type": "text", "path": "blank.txt"})
    refused("only empty files", [*source, {"type": "text", "path": "blank.txt"}])
    write_jsonl(folder / "c.jsonl", [{"body": "text", "id": 1}] * 3)
    refused(r"c\.jsonl:1: expected a field 'text', got the fields body, id in each of 3 rows - .*Set fields: \{text: NAME\}", {"type": "jsonl", "path": "c.jsonl"})
    refused("a field 'boby'.*did you mean 'body'", {"type": "jsonl", "path": "c.jsonl", "fields": {"text": "boby"}})
    (folder / "d.csv").write_text("content,n\nhello,1\n")
    refused("expected a field 'text', got the fields content, n", {"type": "csv", "path": "d.csv"})
    (folder / "e.jsonl").write_bytes(b"not json\nnot either\n")
    refused(r"e\.jsonl:1: expected one JSON object a line", {"type": "jsonl", "path": "e.jsonl"})
    refused("corpus.source: expected at least one source|at least one source", [])
    refused("a name of its own for each source", [source[0], source[0]])
    refused("validation: expected a number below 1", source, validation=1)
    refused("workers: expected a number of at least 1", source, workers=0)
    refused("unknown step 'exact_dedpu' - did you mean 'exact_dedup'", source, steps=["exact_dedpu"])
    refused("unknown source 'jsonk' - did you mean 'jsonl'", {"type": "jsonk", "path": "a.jsonl"})


def test_nothing_kept_is_a_clear_error(source):
    with pytest.raises(DataError, match=r"at least one document that is kept, got \d+ read, all dropped or quarantined \(length.too_short \d+, .* - loosen") as caught:
        corpus(source, steps=[{"type": "length", "min_chars": 10**6}])
    assert caught.value.exit_status == 2
    assert [path.name for path in Path("run/corpus").iterdir()] == ["parts"], "what was read, for another try"
    assert outputs(corpus(source, steps=[{"type": "length", "min_chars": 12}])) == outputs(
        corpus(source, "afresh", steps=[{"type": "length", "min_chars": 12}]))  # fmt: skip


def test_a_changed_step_redoes_only_what_depends_on_it(source):
    folder = corpus(source)
    made = {path: path.stat().st_mtime_ns for path in (folder / "parts").rglob("*.arrow")}
    kept_before = json.loads((folder / "stats.json").read_text())["kept"]
    changed = [*STEPS[:3], {"type": "length", "max_chars": 150}]
    stage = {"source": source, "steps": changed, "engine": {"type": "local", "workers": 2}}
    with pytest.raises(Exception, match="redo corpus"):
        execute(parse({"name": "x", "stages": [{"corpus": stage}]}, Place()), "run", console=Console(quiet=True))
    execute(parse({"name": "x", "stages": [{"corpus": stage}]}, Place()), "run", redo=["corpus"], console=Console(quiet=True))
    again = {path: path.stat().st_mtime_ns for path in (folder / "parts").rglob("*.arrow")}
    same = [path for path, when in again.items() if made.get(path) == when]
    assert any("persist" in path.parent.name for path in same), "what was read and deduplicated exactly is there still"
    assert any(path not in made for path in again)
    assert not any(made.get(path) not in (None, when) for path, when in again.items())
    assert json.loads((folder / "stats.json").read_text())["kept"] != kept_before
    assert outputs(folder) == outputs(corpus(source, "afresh", steps=changed))


def test_a_disk_that_is_full_leaves_no_half_and_goes_on(source, monkeypatch):
    import errno

    from yanmo.core.errors import StorageError
    from yanmo.corpus import writer

    whole = outputs(corpus(source, "whole"))
    original, calls = writer._Table._group, []

    def full(self):
        calls.append(self.folder.name)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(writer._Table, "_group", full)
        with pytest.raises(StorageError, match="room on the disk"):
            corpus(source)
    assert not list(Path("run").rglob(".tmp-*"))
    assert not (Path("run/corpus") / "documents").exists()
    assert outputs(corpus(source)) == whole


# ---------------------------------------------------------------------------------------------- killed

KILLED = """
import sys
from tests.corpus.corpora import small_shards
from tests.stages.test_corpus_stage import corpus
import json

class Patch:
    setattr = staticmethod(setattr)

small_shards(Patch, 40_000)
corpus(json.loads(sys.argv[1]), sys.argv[2], workers=int(sys.argv[3]))
"""


def parts(run: str) -> int:
    """How many part files there are; the run may be removing them meanwhile."""
    return sum(name.endswith(".arrow") for _, _, names in os.walk(run) for name in names)


@pytest.mark.parametrize("attempts", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_ends_with_the_same_bytes(source, monkeypatch, attempts):
    small_shards(monkeypatch, 40_000)
    whole = outputs(corpus(source, "whole"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", KILLED, json.dumps(source), "killed"]
    rng, kills, most = random.Random(attempts), 0, max(parts("whole") // (attempts + 1), 1)
    for attempt in range(attempts):
        wanted = parts("killed") + rng.randint(1, most)
        with subprocess.Popen([*command, str(1 + attempt % 2)], env=environment, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and parts("killed") < wanted:
                time.sleep(0.005)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
    assert kills >= attempts // 2 + 1
    assert outputs(corpus(source, "killed", workers=2)) == whole
    assert not list(Path("killed").rglob(".tmp-*"))
    assert not list(Path("killed").rglob("*.part"))


def test_a_kill_inside_a_file_costs_a_few_documents(folder, monkeypatch):
    """One gzipped file, which nobody can cut: what was read before the kill is not read again."""
    import gzip

    from yanmo.corpus.engines import parts as part_files
    from yanmo.corpus.sources.jsonl import JsonlSource

    bodies = texts(120, seed=8)
    with gzip.open(folder / "one.jsonl.gz", "wt", encoding="utf-8") as handle:
        handle.writelines(json.dumps({"text": body}, ensure_ascii=False) + "\n" for body in bodies)
    source = {"type": "jsonl", "path": "one.jsonl.gz"}
    whole = outputs(corpus(source, "whole"))
    monkeypatch.setattr(part_files, "BATCH_ROWS", 10)
    original, seen = JsonlSource.documents, []

    def watched(self, shard):
        for number, doc in enumerate(original(self, shard)):
            if seen is not None and len(seen) == 57 and stop:
                raise KeyboardInterrupt
            seen.append(number)
            yield doc

    with monkeypatch.context() as patch:
        patch.setattr(JsonlSource, "check", lambda self: None)
        patch.setattr(JsonlSource, "documents", watched)
        stop = True
        with pytest.raises(KeyboardInterrupt):
            corpus(source, steps=STEPS)
        partial = list(Path("run").rglob("*.part"))
        assert len(partial) == 1
        with open(partial[0], "ab") as handle:
            handle.write(partial[0].read_bytes()[:100])  # half a message, as a kill leaves it
        stop, normalized = False, []
        import yanmo.corpus.steps.normalize as normalize

        edit = normalize.Normalize.edit
        patch.setattr(normalize.Normalize, "edit", lambda self, text: (normalized.append(1), edit(self, text))[1])
        folder = corpus(source, steps=STEPS)
        assert len(normalized) <= 120 - 50, "the first fifty were done"
    assert outputs(folder) == whole


# ---------------------------------------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_input(folder):
    """The small version of benchmarks/corpus_memory.py: 1 MB and 6 MB, in processes of their own."""
    from benchmarks.corpus_memory import write

    root = Path(__file__).parents[2]
    peaks = []
    for name, size in (("small", 1e6), ("large", 6e6)):
        write(folder / f"{name}.jsonl", int(size), seed=1)
        command = [sys.executable, "-m", "benchmarks.corpus_memory", "--measure", f"{name}.jsonl", name, "1"]
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peaks.append(json.loads(done.stdout)["own"])
    assert peaks[1] < peaks[0] + 25, peaks


def test_settings_of_the_usual_engine_need_no_type(source):
    stage = {"source": source, "engine": {"workers": 1}}
    recipe = parse({"name": "x", "stages": [{"corpus": stage}]}, Place())
    assert recipe.stages[0].stage.engine.type == "local"
    assert recipe.stages[0].stage.engine.workers == 1
