"""`yanmo run RECIPE --ranks N`: N processes on this machine, by torch's elastic launcher, one for each GPU.

A rank that dies (a kill, a broken GPU, memory) takes a collective operation of all others with it; so all are ended and started
again, at most `RESTARTS` times, and go on from the newest checkpoint. An error that would only come again (a recipe, a loss that
is not finite) is no reason to: then every rank returns its exit status.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from yanmo.core.crew import Dismissed
from yanmo.core.errors import RequestError, YanmoError
from yanmo.core.messages import Text, text
from yanmo.core.stopped import Stopped
from yanmo.train.parallel.heartbeat import NOTES
from yanmo.train.parallel.ranks import Ranks, RanksError

RESTARTS = 3
GRACE = 60  # seconds for the others to end, once one has died or a signal has come: time for a step and a checkpoint


def launch(ranks: int, work: Callable[[list[str]], int], arguments: list[str], say: Callable[[Text], None]) -> int:
    """Runs `work` (the command line, which gives an exit status) in `ranks` processes; the exit status of the first one."""
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if ranks < 1:
        raise RequestError("--ranks", text("a number of at least {limit}", limit=1), str(ranks))
    if devices and ranks > devices:
        raise RequestError("--ranks", text("at most the {count} GPUs of this machine", count=devices), str(ranks))
    if Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all on this machine: nothing need leave it
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    with tempfile.TemporaryDirectory(prefix="yanmo-ranks-") as notes:
        os.environ[NOTES] = notes
        lost = Lost(Path(notes), say)
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=ranks, run_id=uuid.uuid4().hex, rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0", local_addr="127.0.0.1", max_restarts=RESTARTS, start_method="spawn",
            shutdown_timeout=GRACE,
        )  # fmt: skip
        try:
            with lost:
                return int(elastic_launch(config, work)(arguments)[0])
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise RanksError(text("rank {rank}", rank=rank), None, text("{how}, and again after {count} restarts",
                             how=lost.how(failure.exitcode), count=RESTARTS),
                             text("run the same command again to go on from the newest checkpoint")) from None  # fmt: skip
        except SignalException as error:
            return 0 if error.sigval == signal.SIGTERM else 130
        finally:
            del os.environ[NOTES]


class Lost(logging.Handler):
    """Hears from torch's launcher of a process that has died, and says in one line which one, how, and in which phase; the
    launcher's own lines, which are about itself, are kept back."""

    LOGGER = "torch.distributed.elastic"
    SAID = "failed (exitcode"

    def __init__(self, notes: Path, say: Callable[[Text], None]):
        super().__init__(logging.WARNING)
        self.notes, self.say, self.count = notes, say, 0

    def __enter__(self) -> Lost:
        self._before = {}
        for name in [n for n in logging.root.manager.loggerDict if n.startswith(self.LOGGER)]:
            logger = logging.getLogger(name)
            self._before[logger] = (logger.handlers[:], logger.propagate)
            logger.handlers, logger.propagate = [self], False
        return self

    def __exit__(self, *error: object) -> None:
        for logger, (handlers, propagate) in self._before.items():
            logger.handlers, logger.propagate = handlers, propagate

    def emit(self, record: logging.LogRecord) -> None:
        if not str(record.msg).startswith(self.SAID) or not isinstance(record.args, tuple):
            return
        code, rank = int(record.args[0]), int(record.args[1])  # type: ignore[call-overload]
        self.count += 1
        going = text("all ranks start again from the newest checkpoint (restart {count} of {most})", count=self.count,
                     most=RESTARTS)  # fmt: skip
        said = text("rank {rank} {how}; last seen in {place}", rank=rank, how=self.how(code), place=self.place(rank))
        self.say(text("{what}; {then}", what=said, then=going) if self.count <= RESTARTS else said)

    def place(self, rank: int) -> Text | str:
        path = self.notes / str(rank)
        words = path.read_text(encoding="utf-8").split() if path.is_file() else []
        return text("{phase} of step {step}", phase=words[0], step=words[1]) if len(words) == 2 else text("start")

    @staticmethod
    def how(code: int) -> Text:
        if code < 0:
            return text("was killed by {signal}", signal=signal.Signals(-code).name)
        return text("ended with exit status {status}", status=code)


def among(work: Callable[[Ranks], dict[str, Any]]) -> dict[str, Any]:
    """`work` as one of several processes, which all end when the first one does. What ends one of them for a reason that would
    only come again ends all, with its exit status."""
    ranks = Ranks.join()
    try:
        return work(ranks)
    except Dismissed:
        return {}
    except YanmoError as error:
        told = ranks.first if isinstance(error, Stopped) else ranks.fail(error.exit_status)  # of what meets all, once
        if told:
            raise
        raise typer.Exit(error.exit_status) from None
    except RuntimeError:  # a collective operation that another has left
        status = ranks.failed()
        if status is None:
            raise
        raise typer.Exit(status) from None
    finally:
        ranks.leave()
