"""What a stage took counts every try of it, killed ones too."""

import os
import signal
import subprocess
import sys
import time

from yanmo.core import files
from yanmo.core.energy import WATTS
from yanmo.core.spent import SPENT, added, counted


def test_a_killed_try_counts(tmp_path):
    code = f"""
from pathlib import Path
from yanmo.core.spent import counted
with counted(Path({str(tmp_path)!r}), every=0.05):
    print("counting", flush=True)
    while True:
        sum(range(10_000))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert process.stdout.readline() == b"counting\n"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (files_of := _read(tmp_path)).get("cpu_seconds", 0) > 0.2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed = _read(tmp_path)
    assert killed["cpu_seconds"] > 0.2, files_of
    with counted(tmp_path) as spent:
        first = spent()
    assert first["seconds"] >= killed["seconds"]
    assert first["joules"] >= killed["joules"]
    assert _read(tmp_path)["seconds"] >= first["seconds"]  # an error or an interruption leaves it for the next try


def test_what_one_try_does_not_know_nobody_knows():
    one = {"seconds": 2.0, "cpu_seconds": 1.5, "joules": 15.0, "method": "measured"}
    assert added(None, one) == one
    assert added(one, {**one, "joules": 1.5 * WATTS, "method": "estimated"}) == {
        "seconds": 4.0, "cpu_seconds": 3.0, "joules": 30.0, "method": "estimated"}  # fmt: skip
    unknown = added(one, {**one, "joules": None, "method": "unknown"})
    assert unknown["joules"] is None
    assert unknown["method"] == "unknown"


def _read(folder):
    return files.read_json(folder / SPENT) if (folder / SPENT).is_file() else {}
