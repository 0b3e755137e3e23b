"""The quickstart at toy size, killed again and again on its way, ends with the bytes of an uninterrupted run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.line.conftest import TOY, write_data, yanmo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


BESIDE = ("manifest.json", "begun.json", "plan.json")


def outputs(run: Path) -> dict[str, bytes]:
    """Models, documents, tokenizers, tokens and results: what must not depend on how often the run was killed."""
    kept = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        ours = "/model/" in name or "/documents/" in name or name.startswith(("tokenizer/", "characters/", "tokens/"))
        if path.is_file() and (ours or name == "evaluate/results.json") and path.name not in BESIDE:
            kept[name] = path.read_bytes()
    return kept


def test_killed_at_20_random_moments(tmp_path):
    write_data(tmp_path)
    whole = yanmo("run", "quickstart", *TOY, "--run-dir", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "yanmo", "run", "quickstart", *TOY, "--run-dir", "killed", "--quiet"]
    rng, kills, attempts = random.Random(0), 0, 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    while kills < 20:
        attempts += 1
        with open(tmp_path / "errors.txt", "w") as errors:
            process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
            try:
                process.wait(timeout=rng.uniform(1.0, 7.0))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                continue
        assert process.returncode == 0, (tmp_path / "errors.txt").read_text()
        break  # it finished between two kills
    assert kills >= 10, "too few kills hit the run to prove anything"
    started = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(f"{kills} kills in {attempts} attempts; the last part took {time.monotonic() - started:.0f} s")
    first, second = outputs(tmp_path / "whole"), outputs(tmp_path / "killed")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert not list((tmp_path / "killed").rglob(".tmp-*"))
