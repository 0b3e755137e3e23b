"""SIGTERM outside of a training: the run ends with status 0, says what to run next, and goes on from there."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from yanmo.core.stopped import Stopped, terminable

RECIPE = """name: 语料
stages:
  - corpus: {source: {type: jsonl, path: docs.jsonl}, steps: [{type: minhash_dedup}], engine: {type: local, workers: 2}}
"""


def test_the_work_ends_where_it_is():
    def work():
        with terminable("stories"):
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("not reached")

    with pytest.raises(Stopped) as caught:
        work()
    assert caught.value.exit_status == 0
    assert caught.value.render("en").startswith("stories: stopped by SIGTERM; what is finished stays - run the same command again")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_no_ordinary_handler_catches_it():
    def work():
        with terminable("x"), contextlib.suppress(Exception):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped):
        work()


def test_a_program_with_a_handler_of_its_own_keeps_it():
    asked = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        with terminable("x"):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked == [signal.SIGTERM]


def test_a_forked_worker_dies_as_workers_do():
    ready, told = os.pipe()
    with terminable("x"):
        child = os.fork()
        if not child:
            os.write(told, b"!")
            time.sleep(20)
            os._exit(3)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    os.close(ready)
    os.close(told)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_a_thread_gets_no_signals():
    found = []

    def work():
        with terminable("x"):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_a_corpus_is_stopped_and_gone_on_with(tmp_path):
    line = '{{"text": "{0} A line of prose about the sea, number {0}; 第 {0} 回 天下大勢，分久必合，合久必分。🙂"}}\n'
    (tmp_path / "docs.jsonl").write_text("".join(line.format(n) for n in range(15_000)), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    command = [sys.executable, "-m", "yanmo", "run", "recipe.yaml"]
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "LANG": "C.UTF-8"})  # fmt: skip
    began = tmp_path / "runs" / "语料" / "corpus" / "begun.json"
    while not began.is_file() and first.poll() is None:
        time.sleep(0.02)
    first.terminate()
    _, said = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert "语料: stopped by SIGTERM; what is finished stays - run the same command again to go on: yanmo run recipe.yaml" in said
    assert not (began.parent / "manifest.json").is_file()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    assert (began.parent / "manifest.json").is_file()
