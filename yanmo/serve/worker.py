"""One model's engine in a thread of its own, and the bridge to asyncio.

    event loop                               engine's thread
    worker.submit(requests) ──orders──>      engine.submit … engine.step() ──events──> job.events (asyncio.Queue)
    job.cancel()            ──orders──>      engine.cancel

What is wrong with a request is found in the event loop, before anything is queued. The queue is bounded: beyond it,
`submit` raises 503 at once. A step that fails costs the requests that were in it, not the engine.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from yanmo.core.errors import RequestError, WorkError
from yanmo.core.messages import text
from yanmo.serve.errors import ApiError

if TYPE_CHECKING:
    from yanmo.inference.engine import Engine, Event, Request, Ticket


class Job:
    """The sequences of one HTTP request: their events as they come, and their end."""

    def __init__(self, worker: Worker, count: int):
        self.worker = worker
        self.tickets: list[Ticket | None] = [None] * count
        self.open = set(range(count))
        self.events: asyncio.Queue[tuple[int, Event] | ApiError] = asyncio.Queue()
        self.over = False

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        """(index of the sequence, event) until every sequence has finished; cancels them when left early."""
        try:
            while self.open:
                item = await self.events.get()
                if isinstance(item, ApiError):
                    raise item
                index, event = item
                if event.error is not None:
                    raise ApiError.of(event.error)
                if event.finish:
                    self.open.discard(index)
                yield index, event
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Gives the slots back; nothing happens where the job is over."""
        if not self.over:
            self.over = True
            self.worker.release(self)

    def fail(self, error: ApiError) -> None:
        self.events.put_nowait(error)


class Worker:
    def __init__(self, engine: Engine, queue: int):
        self.engine, self.queue = engine, queue
        self.jobs: set[Job] = set()
        self.pending = 0  # sequences accepted and not over
        self.alive = True
        self._owners: dict[Ticket, tuple[Job, int]] = {}  # the thread's own
        self._orders: list[Callable[[], None]] = []
        self._bell = threading.Condition()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------------------ in the event loop

    def submit(self, requests: Sequence[Request], field: str = "prompt") -> Job:
        """Queues the sequences; ApiError 400 where one can never run (naming `field`), 503 where there is no room."""
        for request in requests:
            try:
                self.engine.check(request)
            except RequestError as error:
                too_long = self.engine.context is not None and len(request.ids) > self.engine.context
                code = "context_length_exceeded" if too_long else None
                raise ApiError(400, str(error), field, code) from None
        if not self.alive:
            raise ApiError(503, "the engine has stopped")
        if self.pending + len(requests) > self.engine.rows + self.queue and self.pending:
            raise ApiError(503, f"busy: {self.pending} sequences are running or waiting", code="overloaded", retry=1)
        job = Job(self, len(requests))
        self.jobs.add(job)
        self.pending += len(requests)
        self._order(lambda: self._begin(job, requests))
        return job

    def release(self, job: Job) -> None:
        self.jobs.discard(job)
        self.pending -= len(job.tickets)
        if job.open:
            self._order(lambda: self._end(job))

    def abort(self, error: ApiError) -> None:
        """Ends every job with an error (the time to drain is over)."""
        for job in list(self.jobs):
            job.fail(error)

    def close(self) -> None:
        with self._bell:
            self._closing = True
            self._bell.notify()
        self._thread.join(timeout=10)

    def _order(self, order: Callable[[], None]) -> None:
        with self._bell:
            self._orders.append(order)
            self._bell.notify()

    def _deliver(self, found: list[tuple[Job, int, Event]]) -> None:
        for job, index, event in found:
            if not job.over:
                job.events.put_nowait((index, event))

    def _stopped(self) -> None:
        self.alive = False
        self.abort(ApiError(503, "the engine has stopped"))

    # ------------------------------------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            if not self._closing:
                self._loop.call_soon_threadsafe(self._stopped)

    def _turn(self) -> bool:
        with self._bell:
            while not (self._orders or self.engine.busy or self._closing):
                self._bell.wait()
            orders, self._orders = self._orders, []
            if self._closing:
                return False
        for order in orders:
            order()
        try:
            events = self.engine.step()
        except Exception:
            traceback.print_exc(file=sys.stderr)
            events = self.engine.fail(WorkError("engine", text("a step without an error"), text("a failure; the log says why")))
        found = [(*self._owners[event.ticket], event) for event in events if event.ticket in self._owners]
        for event in events:
            if event.finish:
                self._owners.pop(event.ticket, None)
        if found:
            self._loop.call_soon_threadsafe(self._deliver, found)
        return True

    def _begin(self, job: Job, requests: Sequence[Request]) -> None:
        if job.over:  # left before it began
            return
        for index, request in enumerate(requests):
            ticket = self.engine.submit(request)
            job.tickets[index] = ticket
            self._owners[ticket] = (job, index)

    def _end(self, job: Job) -> None:
        for ticket in job.tickets:
            if ticket is not None:
                self._owners.pop(ticket, None)
                self.engine.cancel(ticket)
