"""A few worker processes that run tasks, whatever their order.

A worker holds the task that it runs and, while there are plenty, the next one: small tasks do not wait for this process.

They are started as plain commands, not with `multiprocessing`: that would import the user's own script again in each of
them, which then needs a `__main__` guard, and its workers outlive a parent that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from yanmo.core.errors import WorkError
from yanmo.core.messages import text
from yanmo.corpus.engines.worker import START, receive, send

PATIENCE = 5  # seconds that idle workers have to end
PLENTY = 4  # tasks for each worker that must be waiting before one is handed out ahead


class Task(Protocol):
    def run(self) -> int: ...


class Pool:
    """Up to `workers` processes, started when there is work for them and kept until `close`. `keep`: the numbers of open
    files that they inherit."""

    def __init__(self, workers: int, keep: Sequence[int] = ()):
        self.workers, self.keep = workers, keep
        self.processes: list[subprocess.Popen[bytes]] = []
        self.busy: dict[int, deque[Any]] = {}  # process id → its tasks, in the order of their answers

    def run(self, tasks: Sequence[Any]) -> Iterator[tuple[Any, int]]:
        """(task, what its `run` returned) as they are done. The first failure stops everything and is raised here."""
        waiting = deque(tasks)
        with selectors.DefaultSelector() as selector:
            while len(self.processes) < min(self.workers, len(tasks)):
                self.processes.append(self._start())
            for process in self.processes:
                assert process.stdout is not None
                selector.register(process.stdout, selectors.EVENT_READ, process)
                self._hand_out(process, waiting)
            while any(self.busy.values()):
                for key, _ in selector.select():
                    process = key.data
                    try:
                        fine, answer = receive(process.stdout.raw)  # a second answer would go unnoticed in the buffer
                    except EOFError:
                        raise self._died(process) from None
                    if not fine:
                        raise answer
                    task = self.busy[process.pid].popleft()
                    self._hand_out(process, waiting)
                    yield task, answer

    def _hand_out(self, process: subprocess.Popen[bytes], waiting: deque[Any]) -> None:
        held = self.busy.setdefault(process.pid, deque())
        while waiting and len(held) < (2 if len(waiting) > PLENTY * len(self.processes) else 1):
            held.append(waiting.popleft())
            self._send(process, held[-1])

    def close(self) -> None:
        """Ends the workers: idle ones are asked to, so that their own children are ended and accounted for, too."""
        for process in self.processes:
            try:
                if self.busy.get(process.pid):
                    process.kill()
                elif process.stdin is not None:
                    send(process.stdin, None)
            except OSError:
                process.kill()
        deadline = time.monotonic() + PATIENCE
        for process in self.processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # of a message that was only half sent
                    if stream is not None:
                        stream.close()
        self.processes, self.busy = [], {}

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-c", START, json.dumps([os.path.abspath(entry) for entry in sys.path])]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, pass_fds=self.keep)

    def _send(self, process: subprocess.Popen[bytes], task: Any) -> None:
        assert process.stdin is not None
        try:
            send(process.stdin, task)
        except (AttributeError, pickle.PicklingError, TypeError) as error:
            raise TypeError(f"a function of the plan cannot travel to a worker (is it a lambda?): {error}") from error
        except BrokenPipeError:
            raise self._died(process) from None

    def _died(self, process: subprocess.Popen[bytes]) -> WorkError:
        status = process.wait()
        return WorkError(
            text("a corpus worker"), text("an answer"), text("it ended with status {status}", status=status),
            text("if memory ran out, set engine: {{type: local, workers: 1}}; run again, finished parts are kept"),
        )  # fmt: skip
