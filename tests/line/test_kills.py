"""The quickstart at toy size, killed again and again on its way, ends with the bytes of an uninterrupted run."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.line.conftest import TOY, killed, write_data, yanmo
from tests.long import LONG

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


def test_killed_at_random_moments(tmp_path):
    write_data(tmp_path)
    whole = yanmo("run", "quickstart", *TOY, "--run-dir", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    command = ["run", "quickstart", *TOY, "--run-dir", "killed"]
    rng, kills, attempts = random.Random(0), 0, 0
    while kills < (20 if LONG else 12):
        attempts += 1
        if not killed(*command, cwd=tmp_path, after=rng.uniform(1.0, 7.0)):
            break  # it finished between two kills
        kills += 1
    assert kills >= 10, "too few kills hit the run to prove anything"
    started = time.monotonic()
    done = yanmo(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    print(f"{kills} kills in {attempts} attempts; the last part took {time.monotonic() - started:.0f} s")
    first, second = outputs(tmp_path / "whole"), outputs(tmp_path / "killed")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert not list((tmp_path / "killed").rglob(".tmp-*"))
