"""Runs: skipped when nothing changed, stopped when something did, whole after any kill, verified to the bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import DataError, RequestError, RunError, StorageError
from yanmo.core.execute import execute, share_of_budget
from yanmo.core.finished import remember, unchanged
from yanmo.core.recipe import load
from yanmo.core.run import Run, locked
from yanmo.core.verify import verify

RECIPE = """\
name: tiny
stages:
  - {name: count, "tests.core.parts:Count": {path: data}}
  - {name: two, "tests.core.parts:Double": {}}
  - {name: three, "tests.core.parts:Double": {times: 3}}
"""


@pytest.fixture
def tiny(folder):
    (folder / "data").mkdir()
    (folder / "data" / "a.txt").write_text("研墨 grinds 🖌️\n", encoding="utf-8")
    (folder / "tiny.yaml").write_text(RECIPE)

    def go(*overrides, **options):
        return execute(load("tiny.yaml", list(overrides)), console=Console(quiet=True), **options)["stages"]

    return go


def tree(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in files.files(directory)}


def test_a_second_run_skips_everything(tiny):
    assert tiny() == {"count": "ran", "two": "ran", "three": "ran"}
    before = tree(Path("runs/tiny"))
    assert tiny() == {"count": "skipped", "two": "skipped", "three": "skipped"}
    assert tree(Path("runs/tiny")) == before


def test_manifests_hold_hashes_and_the_fingerprint(tiny):
    tiny()
    manifest = json.loads(Path("runs/tiny/count/manifest.json").read_text())
    assert manifest["files"]["count.json"]["sha256"] == files.sha256(Path("runs/tiny/count/count.json"))
    assert manifest["sources"][0]["path"] == "data/a.txt"
    assert manifest["settings"]["class"] == "tests.core.parts:Count"
    assert json.loads(Path("runs/tiny/two/manifest.json").read_text())["inputs"][0]["digest"] == manifest["digest"]


def test_other_settings_stop_with_the_difference(tiny):
    tiny()
    with pytest.raises(RunError) as caught:
        tiny("three.times=5")
    assert "times: 3 → 5" in str(caught.value)
    assert "--redo three" in str(caught.value)
    assert tiny("three.times=5", redo=["three"]) == {"count": "skipped", "two": "skipped", "three": "ran"}
    assert json.loads(Path("runs/tiny/three/count.json").read_text()) == 5 * json.loads(Path("runs/tiny/count/count.json").read_text())


def test_execution_settings_are_no_difference(tiny):
    tiny()
    assert set(tiny("count.workers=8").values()) == {"skipped"}


def test_changed_sources_stop_and_redo_reruns_what_depends_on_them(tiny):
    tiny()
    Path("data/b.txt").write_text("more")
    with pytest.raises(RunError, match=r"data/b\.txt is new"):
        tiny()
    assert tiny(redo=["count"]) == {"count": "ran", "two": "ran", "three": "ran"}
    Path("data/b.txt").write_text("less")
    with pytest.raises(RunError, match=r"data/b\.txt has changed"):
        tiny()
    Path("data/b.txt").unlink()
    with pytest.raises(RunError, match=r"data/b\.txt is gone"):
        tiny()


def test_redo_with_the_same_result_reruns_only_that_stage(tiny):
    tiny()
    assert tiny(redo=["count"]) == {"count": "ran", "two": "skipped", "three": "skipped"}


def test_until_asks_nothing_of_the_stages_behind_it(tiny):
    tiny()
    with pytest.raises(RunError, match="times: 3 → 5"):
        tiny("three.times=5")
    assert tiny("three.times=5", until="two") == {"count": "skipped", "two": "skipped"}


def test_until_stops_after_the_stage_and_a_later_run_goes_on(tiny):
    assert tiny(until="two") == {"count": "ran", "two": "ran"}
    assert tiny() == {"count": "skipped", "two": "skipped", "three": "ran"}


def test_unknown_stage_names(tiny):
    for options in ({"until": "tow"}, {"redo": ["tow"]}):
        with pytest.raises(RequestError, match="did you mean 'two'"):
            tiny(**options)
    assert not Path("runs").exists()


def test_a_stage_takes_the_nearest_earlier_giver_or_the_named_one(folder, tiny):
    content = RECIPE.replace("  - {name: two", '  - {name: other, "tests.core.parts:Count": {path: data, rule: {type: "tests.core.parts:Rule", factor: 10}}}\n  - {name: two')
    Path("tiny.yaml").write_text(content)
    tiny("three.corpus=count")
    one = json.loads(Path("runs/tiny/count/count.json").read_text())
    assert json.loads(Path("runs/tiny/two/count.json").read_text()) == 2 * 10 * one
    assert json.loads(Path("runs/tiny/three/count.json").read_text()) == 3 * one


def test_a_role_that_nothing_gives(folder):
    Path("x.yaml").write_text('name: x\nstages: [{"tests.core.parts:Double": {}}]')
    with pytest.raises(RequestError, match="expected an earlier stage that gives a corpus, got none - add one before it"):
        execute(load("x.yaml"))
    Path("x.yaml").write_text('name: x\nstages: [{"tests.core.parts:Double": {corpus: nowhere}}]')
    with pytest.raises(RequestError, match="expected an earlier stage or a path, got nowhere"):
        execute(load("x.yaml"))
    assert not Path("runs").exists()


def test_missing_and_empty_data_paths(tiny):
    for path, words in (("nodata", "no such path: nodata"), ("empty", "got none"), ("data/*.md", "files that match")):
        Path("empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=words.replace("*", r"\*")):
            tiny(f"count.path={path}")
    assert not Path("runs").exists()


def test_interrupted_work_goes_on_and_unfinished_settings_are_remembered(tiny, monkeypatch):
    monkeypatch.setenv("YANMO_TEST_STOP", "count")
    with pytest.raises(KeyboardInterrupt):
        tiny()
    monkeypatch.delenv("YANMO_TEST_STOP")
    with pytest.raises(RunError, match=r"factor: 1 → 2"):
        tiny("count.rule={type: 'tests.core.parts:Rule', factor: 2}")
    assert tiny()["count"] == "ran"


def test_verify_names_every_change(tiny):
    tiny()
    report = verify("runs/tiny")
    assert report["ok"]
    assert report["checked"] >= 8
    Path("runs/tiny/two/count.json").write_text("99\n")
    Path("runs/tiny/three/count.json").unlink()
    Path("data/a.txt").write_text("研墨 grinds 🖌\n")
    report = verify("runs/tiny")
    assert not report["ok"]
    assert {(item["path"], item["what"]) for item in report["changed"]} >= {
        ("runs/tiny/two/count.json", "changed"), ("runs/tiny/three/count.json", "gone"), ("data/a.txt", "changed")}  # fmt: skip


def test_verify_of_what_is_no_run(folder):
    with pytest.raises(RequestError, match="expected a run directory"):
        verify(folder)


def test_a_lost_artifact_is_made_again(tiny):
    tiny()
    Path("runs/tiny/two/count.json").unlink()
    assert tiny() == {"count": "skipped", "two": "ran", "three": "skipped"}


def test_nothing_to_do_is_known_without_importing_parts(tiny):
    report = execute(load("tiny.yaml"), console=Console(quiet=True))
    directory = Path(report["run_dir"])
    request = {"name": "tiny"}
    remember(request, directory, list(report["stages"]))
    assert unchanged(request, directory)["stages"] == dict.fromkeys(report["stages"], "skipped")
    assert unchanged({"name": "other"}, directory) is None
    source = Path("data/a.txt")
    os.utime(source, ns=(1, 1))
    assert unchanged(request, directory) is None


def test_nothing_to_do_sees_a_new_source_file(tiny):
    report = execute(load("tiny.yaml"), console=Console(quiet=True))
    remember({}, Path("runs/tiny"), list(report["stages"]))
    assert unchanged({}, Path("runs/tiny"))
    time.sleep(0.01)
    Path("data/b.txt").write_text("x")
    assert unchanged({}, Path("runs/tiny")) is None


def test_two_runs_in_one_folder(folder):
    with locked(folder / "run"):
        code = f"from yanmo.core.run import locked\nwith locked({str(folder / 'run')!r}): pass"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"in use by process {os.getpid()}" in done.stderr
    with locked(folder / "run"):
        pass


def test_a_read_only_folder(folder):
    """Tried as a user who may not write there; root, who may write everywhere, becomes nobody for it."""
    (folder / "ro").mkdir()
    (folder / "ro").chmod(0o555)
    code = """
import os, sys
from pathlib import Path
from yanmo.core.run import locked
if os.geteuid() == 0:
    os.chdir(sys.argv[1])
    os.setuid(65534)
with locked(Path("ro/run")):
    pass
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, cwd=folder)
    assert "RunError: ro/run: expected a folder that can be written" in done.stderr


def test_a_folder_with_other_files_is_left_alone(tiny):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("do not touch")
    with pytest.raises(RunError, match="a folder with other files in it"):
        tiny(directory="mine")
    Path("file").write_text("")
    with pytest.raises(RunError, match="got a file"):
        tiny(directory="file")
    assert tree(Path("mine")) == {"thesis.txt": b"do not touch"}


def test_a_full_disk_leaves_the_last_good_state(folder):
    """A real full disk: a file-size limit that the system enforces on the process."""
    path = folder / "state.json"
    files.write_json(path, {"good": True})
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
from pathlib import Path
from yanmo.core.files import write_json
write_json(Path({str(path)!r}), list(range(10_000)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "StorageError" in done.stderr
    assert "the disk is full" in done.stderr
    assert tree(folder) == {"state.json": b'{\n  "good": true\n}\n'}


def test_storage_errors_of_a_stage_are_one_line(tiny, folder):
    error = StorageError("x", "room on the disk", "the disk is full")
    assert error.exit_status == 1
    assert str(error) == "x: expected room on the disk, got the disk is full"


def test_killed_at_any_moment_ends_with_the_same_bytes(tiny, folder):
    for i in range(20):
        (folder / "data" / f"{i}.txt").write_text("墨" * i)
    command = [sys.executable, "-c", "from yanmo.core.execute import execute; from yanmo.core.recipe import load;"
               "import sys; execute(load('tiny.yaml', ['count.pause=0.01']), sys.argv[1])"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
    subprocess.run([*command, "whole"], check=True, env=environment, capture_output=True)
    for delay in (0.05, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4):
        process = subprocess.Popen([*command, "killed"], env=environment, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "killed"], check=True, env=environment, capture_output=True)
    outputs = [f"{stage}/count.json" for stage in ("count", "two", "three")]
    whole, killed = tree(folder / "whole"), tree(folder / "killed")
    assert [whole[name] for name in outputs] == [killed[name] for name in outputs]
    assert not [name for name in killed if files.TEMPORARY in name]


def test_a_stage_that_goes_on_counts_what_was_spent_before(tiny, folder):
    tiny(until="count")
    begun, spent = folder / "runs/tiny/count", {"seconds": 1000.0, "cpu_seconds": 900.0, "joules": 9000.0, "method": "estimated"}
    (begun / "manifest.json").unlink()
    files.write_json(begun / "spent.json", spent)
    tiny(until="count")
    made = files.read_json(begun / "manifest.json")
    assert 1000 < made["seconds"] < 1100
    assert made["cost"]["cpu_seconds"] >= 900
    assert not (begun / "spent.json").exists()
    tiny(until="count", redo=["count"])  # begun anew: nothing of before
    assert files.read_json(begun / "manifest.json")["seconds"] < 100


def test_seeds_differ_by_purpose_and_by_seed():
    run = Run(Path("x"), seed=1)
    assert run.seed_for("shuffle") == Run(Path("y"), seed=1).seed_for("shuffle")
    assert len({run.seed_for("shuffle"), run.seed_for("init"), Run(Path("x"), seed=2).seed_for("shuffle")}) == 3
    assert 0 <= run.seed_for("shuffle") < 2**63


def test_a_budget_is_shared_by_weight(tiny):
    recipe = load("tiny.yaml", ["budget.minutes=10"])
    assert share_of_budget(recipe, 0, 0.0) == 0.0  # these stages have no weight
    assert share_of_budget(load("tiny.yaml"), 0, 0.0) is None


def test_a_refused_request_leaves_nothing_and_can_be_repeated_with_other_settings(tiny):
    with pytest.raises(DataError, match="too few bytes"):
        tiny("count.least=10000")
    assert not Path("runs/tiny").exists()
    assert tiny("count.least=1") == {"count": "ran", "two": "ran", "three": "ran"}
