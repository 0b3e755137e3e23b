"""Pages to text in a child process that may be killed: no page can hang a run or take its memory.

    this process                                     the child
    batch of pages ────────── one message ─────────> extracts one after the other, with a timer of CPU seconds and a
                                                     limit of address space; writes down which page it is at
    results <──────────────── one message ────────── all of them together

When the child dies, the page it was at is to blame (of small pages that were done together, whichever dies alone): the
ones before it are done again by a new child, then the ones behind it. CPU seconds, unlike those of the clock, do not
depend on what else the machine does, so a page that runs out of them is given up at once. One that ran out of memory,
or died with its child in another way, is tried once more alone in a fresh child: what counts is the page, not what was
read before it. The child ends with its parent.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TypeVar, cast

from yanmo.corpus.engines.worker import receive, send
from yanmo.corpus.web.html import Extracted, Page, Tier, extract_all

BATCH_PAGES, BATCH_BYTES, BATCH_ITEMS = 64, 2 << 20, 1000
TOGETHER = {"fast": 128 << 10}  # bytes of pages that a tier does in one go
PIPE_BYTES = 1 << 20  # a batch goes over in few pieces
IDLE = 60.0  # seconds after which a child without work ends
PATIENCE = 6  # times the deadline that the clock may show while a page makes no progress
TRIES = 5  # children that may be killed before their first page
NO_MEMORY = 77  # the exit status that says so
AT = struct.Struct("<qq")
START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from yanmo.corpus.web.extractor import main; main()"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Limits:
    tier: Tier = "quality"
    timeout: float = 10.0  # CPU seconds for a page
    memory_mb: int = 1024  # address space of the child
    max_bytes: int = 16 << 20  # of a page


@dataclass(frozen=True)
class Death:
    """The child ended while it was at `count` pages from `index` of its batch on: by a signal (negative) or with an exit
    status."""

    index: int
    count: int
    status: int


def extracted(items: Iterable[tuple[Item, Page | None]], limits: Limits) -> Iterator[tuple[Item, Extracted | None]]:
    """Each item, in its order, with what its page gives (None for an item without one). Holds one batch."""
    held: list[tuple[Item, Page | None]] = []
    pages, size, most = 0, 0, 4  # a caller that wants only the first few items does not wait for many
    for item, page in items:
        held.append((item, page))
        if page is not None:
            pages, size = pages + 1, size + len(page[0])
        if pages >= most or size >= BATCH_BYTES or len(held) >= BATCH_ITEMS:
            yield from _done(held, limits)
            held, pages, size, most = [], 0, 0, min(2 * most, BATCH_PAGES)
    yield from _done(held, limits)


def _done(held: list[tuple[Item, Page | None]], limits: Limits) -> Iterator[tuple[Item, Extracted | None]]:
    fitting = [page for _, page in held if page is not None and len(page[0]) <= limits.max_bytes]
    results = iter(extractor(limits).pages(fitting) if fitting else [])
    for item, page in held:
        if page is None:
            yield item, None
        elif len(page[0]) > limits.max_bytes:
            yield item, Extracted(reason="too_large", value=len(page[0]))
        else:
            yield item, next(results)


_extractors: dict[tuple[int, Limits], Extractor] = {}


def extractor(limits: Limits) -> Extractor:
    """This process's extractor with these limits; one child serves all shards that the process reads."""
    key = (os.getpid(), limits)  # a fork of this process needs a child of its own
    if key not in _extractors:
        if not _extractors:
            atexit.register(close)
        _extractors[key] = Extractor(limits)
    return _extractors[key]


def close() -> None:
    """Ends the children of this process."""
    for (pid, _), held in list(_extractors.items()):
        if pid == os.getpid():
            held.close()
    _extractors.clear()


class Extractor:
    """The child and the way to it. Not for several threads at once."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.child: subprocess.Popen[bytes] | None = None
        self.place = mmap.mmap(-1, AT.size)  # shared with the child: the number of the page it is at, and of those with it

    def pages(self, batch: list[Page]) -> list[Extracted]:
        """What each page gives, in their order."""
        results: list[Extracted] = []
        while batch:
            answer = self._ask(batch)
            if isinstance(answer, list):
                return results + answer
            results += self.pages(batch[: answer.index])
            rest = answer.index + answer.count
            if answer.count == 1:
                results.append(self._verdict(batch[answer.index], answer))
            else:
                results += [self._verdict(page, self._ask([page])) for page in batch[answer.index : rest]]
            batch = batch[rest:]
        return results

    def close(self) -> None:
        if self.child is not None:
            self.child.kill()
            for stream in (self.child.stdin, self.child.stdout):
                with contextlib.suppress(OSError):  # of a message that was only half sent
                    if stream is not None:
                        stream.close()
            self.child.wait()
            self.child = None

    def _verdict(self, page: Page, death: list[Extracted] | Death) -> Extracted:
        """Of a page that was alone when its child answered or died."""
        if isinstance(death, Death) and death.status != -signal.SIGPROF:
            death = self._ask([page])
        if isinstance(death, list):
            return death[0]
        if death.status == -signal.SIGPROF:
            return Extracted(reason="timeout", value=self.limits.timeout)
        if death.status == NO_MEMORY:
            return Extracted(reason="memory", value=self.limits.memory_mb)
        return Extracted(reason="failed", value=f"signal {-death.status}" if death.status < 0 else f"status {death.status}")

    def _ask(self, batch: list[Page]) -> list[Extracted] | Death:
        """The results of a batch; or how the child died, and at which page."""
        for attempt in range(TRIES):
            child = self._ready()
            stdin, stdout, place = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout), self.place
            place[:] = AT.pack(-1, 0)
            try:
                send(stdin, batch)
                while not self._answered(child):
                    pass
                answer: list[Extracted] = receive(stdout)
                return answer
            except (EOFError, OSError):
                status = child.wait()
                self.close()
                index, count = AT.unpack(place[:])
                if index >= 0:
                    return Death(index, count, status)
                if attempt and (status != -signal.SIGKILL or attempt == TRIES - 1):
                    raise RuntimeError(f"the extraction process ends with status {status} before its first page") from None
            except BaseException:  # Ctrl-C: its answer is nobody's any more
                self.close()
                raise
        raise AssertionError("unreachable")

    def _answered(self, child: subprocess.Popen[bytes]) -> bool:
        """Whether there is something to read; a child that makes no progress for too long is ended."""
        before = self.place[:]
        patience = max(PATIENCE * self.limits.timeout, 30.0)
        if select.select([cast(IO[bytes], child.stdout)], [], [], patience)[0]:
            return True
        if self.place[:] == before:
            child.send_signal(signal.SIGPROF)
        return False

    def _ready(self) -> subprocess.Popen[bytes]:
        """A living child."""
        if self.child is not None and self.child.poll() is not None:
            self.close()
        if self.child is None:
            self.child = self._started()
        return self.child

    def _started(self) -> subprocess.Popen[bytes]:
        settings = [os.getpid(), self.limits.tier, self.limits.timeout, self.limits.memory_mb]
        path = json.dumps([os.path.abspath(entry) for entry in sys.path])
        with tempfile.TemporaryFile() as shared:
            shared.write(AT.pack(-1, 0))
            shared.flush()
            self.place = mmap.mmap(shared.fileno(), AT.size)
            command = [sys.executable, "-c", START, path, json.dumps([*settings, shared.fileno()])]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[shared.fileno()],
                                     pipesize=PIPE_BYTES)  # fmt: skip
        for stream in (child.stdin, child.stdout):
            with contextlib.suppress(ImportError, AttributeError, OSError):  # a batch in few turns, where Linux allows it
                import fcntl

                assert stream
                fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)
        return child


# ------------------------------------------------------------------------------------------------ in the child


def main() -> None:
    parent, tier, timeout, memory_mb, shared = json.loads(sys.argv[2])
    _end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    place = mmap.mmap(shared, AT.size)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    extract_all([(b"<html><title>t</title><body><p>Loads the libraries.</p></body></html>", None)], tier)
    _keep_memory()
    import gc

    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # trees are freed by their counts; what is cyclic is little
    _limit(memory_mb << 20)
    most = (_used() + (memory_mb << 20)) // 2
    while select.select([sys.stdin.buffer], [], [], IDLE)[0]:
        try:
            batch = receive(sys.stdin.buffer)
        except EOFError:
            break
        results = list[Extracted]()
        try:
            for pages in together(batch, TOGETHER.get(tier, 0)):
                AT.pack_into(place, 0, len(results), len(pages))
                signal.setitimer(signal.ITIMER_PROF, timeout)
                results += extract_all(pages, tier)
                signal.setitimer(signal.ITIMER_PROF, 0)
            send(answers, results)
        except MemoryError:
            os._exit(NO_MEMORY)
        except OSError:  # the parent is gone
            break
        if _used() > most:  # by what earlier pages left behind
            break
    os._exit(0)


def together(batch: list[Page], most: int) -> Iterator[list[Page]]:
    """The pages in groups of at most `most` bytes; one that is larger alone."""
    held, size = list[Page](), 0
    for page in batch:
        if held and size + len(page[0]) > most:
            yield held
            held, size = [], 0
        held.append(page)
        size += len(page[0])
    if held:
        yield held


def _end_with(parent: int) -> None:
    """Linux kills this process when its parent ends, even in the middle of a page; elsewhere it ends with the page."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(0)


def _keep_memory() -> None:
    """Has the C library hold on to memory that is freed: the arrays of a page would be mapped anew for each."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            ctypes.CDLL(None).mallopt(option, 32 << 20)


def _limit(limit: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _used() -> int:
    """Bytes of address space in use; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as handle:
            return int(handle.read().split()[0]) * mmap.PAGESIZE
    except OSError:
        return 0
