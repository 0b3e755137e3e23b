"""A real server process on a loopback port, over a run of small real models."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tests.inference.tiny import make_run


class Process:
    """`yanmo serve` in a process of its own; its log is kept."""

    def __init__(self, *arguments: str, code: str | None = None):
        command = (
            [sys.executable, "-c", code, *arguments]
            if code
            else [sys.executable, "-m", "yanmo", "serve", *arguments, "--port", "0"]
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "YANMO_LANG": "en"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self.ready = threading.Event()
        self.url = ""
        threading.Thread(target=self._read, daemon=True).start()
        assert self.ready.wait(60), "the server did not start"
        assert self.url, "".join(self.lines)
        self.client = httpx.Client(base_url=self.url, timeout=60)
        for _ in range(100):
            try:
                if self.client.get("/health").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.05)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"(http://127\.0\.0\.1:\d+)", line):
                self.url = found[1]
                self.ready.set()
        self.ready.set()

    def post(self, path: str, body: object, **options) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stderr.close()


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("served") / "run")


@pytest.fixture(scope="session")
def server(run):
    process = Process(str(run), "--slots", "4")
    yield process
    assert process.stop() == 0, "".join(process.lines)
    assert not any("Traceback" in line for line in process.lines), "".join(process.lines)


@pytest.fixture
def start():
    """Servers for one test, stopped at its end."""
    started = []

    def begin(*arguments: str, **options) -> Process:
        started.append(Process(*arguments, **options))
        return started[-1]

    yield begin
    for process in started:
        process.stop()
