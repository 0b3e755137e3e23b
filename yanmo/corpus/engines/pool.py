"""A few worker processes that run tasks, whatever their order.

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
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from yanmo.core.errors import WorkError
from yanmo.core.messages import text
from yanmo.corpus.engines.worker import START, receive, send

PATIENCE = 5  # seconds that an idle worker has to end


class Task(Protocol):
    def run(self) -> int: ...


class Pool:
    """Up to `workers` processes, started when there is work for them and kept until `close`."""

    def __init__(self, workers: int):
        self.workers = workers
        self.processes: list[subprocess.Popen[bytes]] = []
        self.busy: dict[int, Any] = {}  # process id → task

    def run(self, tasks: Sequence[Any]) -> Iterator[tuple[Any, int]]:
        """(task, what its `run` returned) as they are done. The first failure stops everything and is raised here."""
        waiting = list(reversed(tasks))
        busy = self.busy
        with selectors.DefaultSelector() as selector:

            def hand_out(process: subprocess.Popen[bytes]) -> None:
                if waiting:
                    task = busy[process.pid] = waiting.pop()
                    self._send(process, task)

            while len(self.processes) < min(self.workers, len(tasks)):
                self.processes.append(self._start())
            for process in self.processes:
                assert process.stdout is not None
                selector.register(process.stdout, selectors.EVENT_READ, process)
                hand_out(process)
            while busy:
                for key, _ in selector.select():
                    process = key.data
                    try:
                        fine, answer = receive(process.stdout)
                    except EOFError:
                        raise self._died(process) from None
                    if not fine:
                        raise answer
                    task = busy.pop(process.pid)
                    hand_out(process)
                    yield task, answer

    def close(self) -> None:
        """Ends the workers: idle ones are asked to, so that their own children are ended and accounted for, too."""
        for process in self.processes:
            try:
                if process.pid in self.busy:
                    process.kill()
                elif process.stdin is not None:
                    send(process.stdin, None)
                process.wait(PATIENCE)
            except (OSError, subprocess.TimeoutExpired):
                process.kill()
        for process in self.processes:
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # of a message that was only half sent
                    if stream is not None:
                        stream.close()
            process.wait()
        self.processes, self.busy = [], {}

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-c", START, json.dumps([os.path.abspath(entry) for entry in sys.path])]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

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
