"""The process: a listening socket, uvicorn around the app, and an orderly end.

The first SIGTERM (or Ctrl-C) makes the house refuse new requests with 503, /health included, while the server goes on
listening, so that whoever balances the load sees it; when no request is left, or the time for it is over, the server
stops with exit status 0. What runs when the time is over, or when a second signal comes, ends with an error event.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.serve.house import House

GRACE = 3  # seconds for aborted responses to send their last event


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket; RequestError where the address cannot be had (before any model is opened)."""
    if not 0 <= port <= 65535:
        raise RequestError("--port", text("a port from 0 to 65535"), str(port))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(1024)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise RequestError(f"{host}:{port}", text("a free address to listen on"), error.strerror or str(error),
                           text("choose another with --host and --port")) from None  # fmt: skip
    with contextlib.closing(listener):
        yield listener


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, house: House, seconds: float):
        super().__init__(config)
        self.house, self.seconds = house, seconds
        self.deadline: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # not uvicorn's own: that would stop listening at once, and raise the signal again when all is done
        now = time.monotonic()
        self.deadline = now if self.house.draining else now + self.seconds
        self.house.draining = True

    async def on_tick(self, counter: int) -> bool:
        if self.deadline is not None:
            if time.monotonic() >= self.deadline:
                self.house.abort()
                self.should_exit = True
            elif not self.server_state.tasks:
                self.should_exit = True
        return await super().on_tick(counter)


def run(app: FastAPI, listener: socket.socket, seconds: float) -> None:
    """Serves until a signal, then drains for at most `seconds`."""
    config = uvicorn.Config(app, http="h11", ws="none", log_level="warning", access_log=False, timeout_keep_alive=30,
                            timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=64 * 1024)  # fmt: skip
    Server(config, app.state.house, seconds).run(sockets=[listener])
