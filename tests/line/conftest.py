"""The quickstart at toy size: the shipped recipe itself, with less text and a few steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOY = [
    "corpus.source=[{type: jsonl, path: data/en.jsonl, language: en, licence: CC0-1.0}, {type: jsonl, path: data/zh.jsonl, language: zh, licence: CC0-1.0}]",
    "tokenizer.size=600", "lstm.train={steps: 12, batch_tokens: 1024}", "lstm.model={type: lstm, depth: 1, width: 32}",
    "transformer.train={steps: 12, batch_tokens: 1024, checkpoint_every: 4}",
    "transformer.model={type: transformer, depth: 2, width: 64, heads: 2}", "intents.train={epochs: 1}",
    "lstm.objective={type: causal, context: 64}", "transformer.objective={type: causal, context: 64}",
]  # fmt: skip


def write_data(folder: Path) -> None:
    """A few documents of each language, cut from the shipped samples."""
    from yanmo.samples import path

    (folder / "data").mkdir()
    for name, source in (("en", "moby_dick"), ("zh", "sanguo")):
        lines = [line for file in sorted(path(source).glob("*.jsonl")) for line in file.read_text(encoding="utf-8").splitlines()]
        (folder / "data" / f"{name}.jsonl").write_text("\n".join(lines[:30]) + "\n", encoding="utf-8")


def yanmo(*arguments: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "YANMO_LANG": "en", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "yanmo", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, **options)


def killed(*arguments: str, cwd: Path, after: float) -> bool:
    """Starts the command line in a session of its own and kills all of it `after` seconds; False where it had ended well."""
    with open(cwd / "errors.txt", "w") as errors:
        command = [sys.executable, "-m", "yanmo", *arguments, "--quiet"]
        process = subprocess.Popen(command, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
                                   stderr=errors, start_new_session=True)  # fmt: skip
        try:
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
    assert process.returncode == 0, (cwd / "errors.txt").read_text()
    return False


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A finished toy run: (working directory, run directory)."""
    folder = tmp_path_factory.mktemp("line")
    write_data(folder)
    done = yanmo("run", "quickstart", *TOY, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, folder / "runs" / "quickstart"
