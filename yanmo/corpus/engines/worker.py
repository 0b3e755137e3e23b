"""A worker process of the local engine: takes tasks on standard input, answers on standard output.

A message is eight bytes of length and a pickle, which never leaves this pair of processes. When the parent goes away,
killed or not, standard input ends and the worker with it, at once: no process is left behind to write into a run. A worker
that is asked to end closes what it opened and ends without taking its memory apart, which takes longer than it sounds.
"""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import signal
import struct
import sys
import threading
import traceback
from typing import IO, Any

LENGTH = struct.Struct("<Q")
START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from yanmo.corpus.engines.worker import main; main()"


def send(stream: IO[bytes], message: Any) -> None:
    data = pickle.dumps(message)
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message and nothing behind it, from a stream with a buffer or without; EOFError where the other end is gone."""
    (length,) = LENGTH.unpack(_exactly(stream, LENGTH.size))
    return pickle.loads(_exactly(stream, length))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) == size:
        return found
    pieces = [found]
    while found and (size := size - len(found)):
        found = stream.read(size)
        pieces.append(found)
    if size:
        raise EOFError
    return b"".join(pieces)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a task prints is not an answer
    import pyarrow

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            try:
                task = receive(sys.stdin.buffer)
                tasks.put(task)
            except EOFError:
                os._exit(0)
            except Exception as error:  # a part that this process cannot import
                tasks.put(error)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        task = tasks.get()
        if task is None:
            atexit._run_exitfuncs()  # its own children end, and are accounted for
            sys.stderr.flush()
            os._exit(0)
        try:
            if isinstance(task, Exception):
                raise task
            answer = (True, task.run())
        except BaseException as error:
            answer = (False, portable(error))
        try:
            send(answers, answer)
        except OSError:  # the parent is gone
            os._exit(0)


def portable(error: BaseException) -> BaseException:
    """Errors meant for the user as they are; anything else as text, with where it happened."""
    from yanmo.core.errors import YanmoError

    if isinstance(error, YanmoError | OSError | MemoryError):
        return error
    return RuntimeError("in a corpus worker:\n" + "".join(traceback.format_exception(error)))
