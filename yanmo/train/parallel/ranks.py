"""The processes of one training, and how they find and wait for each other.

Each has a `rank` from 0 to `size` - 1, told by the launcher (`torchrun`, `yanmo run --ranks N`) in environment variables. They
meet at a store of torch's, a small server of keys and values at MASTER_ADDR:MASTER_PORT, and speak through it outside of the
training steps: rank 0 works alone on a corpus for hours, and the others wait without a collective operation that could time
out. What is computed together goes through a process group (`Ranks.group`), which is made when the first stage needs it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from yanmo.core.crew import Crew, Dismissed
from yanmo.core.errors import RequestError, WorkError
from yanmo.core.messages import text

PATIENCE = 300.0  # seconds until a rank that has not come is missed; YANMO_RANKS_TIMEOUT says otherwise
COLLECTIVE = timedelta(minutes=30)  # until a collective operation that a rank does not join fails
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LOOK = 0.05  # seconds between two looks at the store


class RanksError(WorkError):
    """A process of the training is missing or gone."""


class Ranks(Crew):
    """One of several processes. `local`: its number on its machine, and of its GPU; `attempt`: how often all were restarted."""

    def __init__(self, rank: int, size: int, store: Any, local: int = 0, attempt: int = 0):
        self.rank, self.size, self.local, self.attempt = rank, size, local, attempt
        self.store = dist.PrefixStore(f"yanmo/{attempt}", store)
        self._turns = 0
        self._called = 0
        self._group: str | None = None
        self._address: tuple[str, int] | None = None

    @classmethod
    def join(cls) -> Ranks:
        """Meets the others; RanksError names those that have not come in time."""
        missing = [name for name in VARIABLES if not os.environ.get(name)]
        if missing:
            raise RequestError(", ".join(missing), text("set, as torchrun does for each process"), text("not set"),
                               text("start it with 'yanmo run RECIPE --ranks N' or torchrun"))  # fmt: skip
        rank, size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
        address, patience = os.environ["MASTER_ADDR"], float(os.environ.get("YANMO_RANKS_TIMEOUT") or PATIENCE)
        hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by the launcher's own process
        began = time.monotonic()
        try:
            store = dist.TCPStore(address, port, None, rank == 0 and not hosted, timedelta(seconds=patience),
                                  wait_for_workers=False)  # fmt: skip
        except (dist.DistError, RuntimeError) as error:
            if rank == 0 and not hosted:
                raise RanksError(f"{address}:{port}", text("a free port for the ranks to meet at"),
                                 str(error).split("\n")[0]) from None  # fmt: skip
            raise RanksError(text("rank {rank}", rank=rank),
                             text("rank 0 at {address} within {seconds} s", address=f"{address}:{port}", seconds=f"{patience:g}"),
                             text("nobody"), text("start all {size} ranks, with one address", size=size)) from None  # fmt: skip
        ranks = cls(rank, size, store, int(os.environ.get("LOCAL_RANK", rank)),
                    int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0))  # fmt: skip
        ranks._address = (address, port)
        ranks._meet(patience - (time.monotonic() - began), patience)
        return ranks

    def _meet(self, left: float, patience: float) -> None:
        self.store.set(f"here/{self.rank}", socket.gethostname())
        names = [f"here/{rank}" for rank in range(self.size)]
        end = time.monotonic() + max(left, 0.0)
        while not self.store.check(names):
            if time.monotonic() > end:
                absent = [rank for rank in range(self.size) if not self.store.check([names[rank]])]
                if not absent:
                    return
                raise RanksError(text("ranks"), text("{size} within {seconds} s", size=self.size, seconds=f"{patience:g}"),
                                 text("{count}; missing: rank {ranks}", count=self.size - len(absent),
                                      ranks=", ".join(map(str, absent))),
                                 text("start the missing ones too, or wait longer with YANMO_RANKS_TIMEOUT=SECONDS"))  # fmt: skip
            time.sleep(LOOK)

    def another(self) -> Any:
        """A connection of its own to the store, for a thread: one connection serves one request at a time."""
        if self._address is None:
            return self.store
        store = dist.TCPStore(*self._address, None, False, timedelta(seconds=60), wait_for_workers=False)
        return dist.PrefixStore(f"yanmo/{self.attempt}", store)

    # -------------------------------------------------------------------------------------------- outside of the steps

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        key = self._next(f"turn/{name}")
        if not self.first:
            self._await(key)
        yield
        if self.first:
            self.store.set(key, "done")

    def tell(self, what: str, value: str) -> str:
        """The first process's value, in every process."""
        key = self._next(f"told/{what}")
        if self.first:
            self.store.set(key, value)
            return value
        self._await(key)
        return self.store.get(key).decode()

    def gather(self, what: str, value: str) -> list[str]:
        """Every process's value, in the order of their ranks; only the first one learns them."""
        key = self._next(f"gathered/{what}")
        keys = [f"{key}/{rank}" for rank in range(self.size)]
        self.store.set(keys[self.rank], value)
        if not self.first:
            return []
        for key in keys:
            self._await(key)
        return [found.decode() for found in self.store.multi_get(keys)]

    def _next(self, name: str) -> str:
        """A key of its own for each exchange; all processes make the same ones in the same order within a call."""
        self._turns += 1
        return f"{self._called}/{self._turns}/{name}"

    def call(self, order: dict[str, Any]) -> None:
        self._called, self._turns = self._called + 1, 0
        self.store.set(f"call/{self._called}", json.dumps(order))

    def calls(self) -> Iterator[dict[str, Any]]:
        while True:
            self._called, self._turns = self._called + 1, 0
            try:
                self._await(f"call/{self._called}")
            except Dismissed:
                return
            yield json.loads(self.store.get(f"call/{self._called}"))

    def dismiss(self) -> None:
        self.store.set("dismissed", "yes")

    def fail(self, status: int) -> bool:
        """This process ends for a reason that would only come again, so that the others need not be started anew; whether it
        is the first that does."""
        own = f"{status} {self.rank}"
        return self.store.compare_set("failed", "", own).decode() == own

    def failed(self) -> int | None:
        """The exit status of whoever has failed so."""
        try:
            return int(self.store.get("failed").split()[0]) if self.store.check(["failed"]) else None
        except (dist.DistError, RuntimeError):
            return None

    @property
    def dismissed(self) -> bool:
        try:
            return bool(self.store.check(["dismissed"]))
        except (dist.DistError, RuntimeError):  # the store was rank 0's, and is gone with it
            return True

    def _await(self, key: str) -> None:
        wait = LOOK
        while not self.store.check([key]):
            if self.dismissed:
                raise Dismissed
            time.sleep(wait)
            wait = min(1.5 * wait, 0.5)

    # -------------------------------------------------------------------------------------------- for the steps

    def group(self, device: str) -> None:
        """Makes the process group, once: nccl for GPUs, gloo for CPUs."""
        backend = "nccl" if device == "cuda" else "gloo"
        if self._group is None:
            where: Any = torch.device("cuda", self.local) if device == "cuda" else None
            if where is not None:
                torch.cuda.set_device(where)
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", rank=self.rank, world_size=self.size,
                                    store=dist.PrefixStore("group", self.store), timeout=COLLECTIVE, device_id=where)  # fmt: skip
            self._group = backend
        assert self._group == backend, "one run trains on one kind of device"

    def leave(self) -> None:
        if self._group is not None:
            self._group = None
            dist.destroy_process_group()

