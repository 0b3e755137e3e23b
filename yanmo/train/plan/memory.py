"""Whether a training fits in memory: what it will take, computed before it begins, and what there is.

    stays        parameters · gradients · what the optimizer remembers · averages of the weights · on a CPU a second set of all
                 but the gradients, from which a checkpoint is written behind the training's back
    comes, goes  activations of one micro-batch, with the loss's chunk of logits · the optimizer's own room

Not in it: a validation's wider batch, which keeps nothing for gradients. `state_of` says what generating at the full context
would take beside (KV); nothing trains with that.

The figures of a step come from rehearsing it (`rehearsal.py`), not from a formula: `live`, which the tensors need. On a CPU the
process holds more: glibc's allocator leaves gaps between blocks of up to 32 MB that come and go, 0.4 to 0.9 of what comes and
goes as measured (another figure at every start), counted in `peak` at GAPS. With MALLOC_MMAP_THRESHOLD_=65536 in the
environment every block has its own pages: the process then held what the tensors need within a hundredth, and spent a third
more time on making pages (huge ones took as long).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yanmo.objectives.base import Batch, Objective
from yanmo.train.plan.rehearsal import Nowhere, Rehearsed, Source, rehearse, tried
from yanmo.train.randomness import own_random_numbers

GAPS = 0.62  # of what comes and goes
ALONE = "MALLOC_MMAP_THRESHOLD_"  # glibc's: blocks from so many bytes on have pages of their own
CGROUP = Path("/sys/fs/cgroup")
PROCESS = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Bytes; `live` is the most that tensors take at one moment of the training, `peak` the most that the process holds for them,
    the interpreter and its libraries not counted."""

    parameters: int
    gradients: int
    optimizer: int
    average: int
    copied: int  # for the checkpoint that is being written
    activations: int
    step: int  # the optimizer's own room, while it steps
    live: int
    peak: int
    how: str  # 'rehearsed', 'tried' or 'counted'

    @property
    def stays(self) -> int:
        """What is there all the time."""
        return self.parameters + self.gradients + self.optimizer + self.average + self.copied

    def figures(self) -> dict[str, Any]:
        return asdict(self)


def needed(source: Source, optimizer: Any, objective: Objective, batches: list[Batch], precision: str,
           device: torch.device, averages: int = 0, checkpoints: bool = False) -> Memory:  # fmt: skip
    """What a step of `batches` takes: rehearsed, or tried on a few of their rows where that is not possible. `averages`: copies
    of the weights that an average holds; `checkpoints`: whether they are written meanwhile."""
    try:
        found = rehearse(source, optimizer, objective, batches, precision, torch.device("cpu"))
    except (RuntimeError, NotImplementedError):  # what depends on the numbers, or a kernel that knows no shapes
        least = weights(source)
        if 4 * least > available(device):  # a trial would need what is not there
            found = Rehearsed(least, 2 * least, least, 4 * least, 4 * least, "counted")
        else:
            found = tried(source, optimizer, objective, batches, precision, device)
    return of(found, device, averages, checkpoints)


def weights(source: Source) -> int:
    """Bytes of the parameters."""
    model = source
    if not isinstance(model, nn.Module):
        with own_random_numbers(), Nowhere():
            model = source()
    return sum(p.numel() * p.element_size() for p in model.parameters())


def of(found: Rehearsed, device: torch.device, averages: int = 0, checkpoints: bool = False) -> Memory:
    """What the device holds, of a CPU with the gaps; for `averages` and `checkpoints` see `needed`."""
    stays = found.parameters + found.optimizer + found.gradients
    moving = max(found.peak - stays, 0)
    gaps = GAPS if device.type == "cpu" and not alone() else 0.0
    average = averages * found.gradients
    copied = found.parameters + found.optimizer + average if checkpoints and device.type == "cpu" else 0
    live = found.peak + average + copied
    return Memory(found.parameters, found.gradients, found.optimizer, average, copied, found.activations,
                  max(found.step - stays, 0), live, live + round(gaps * moving), found.how)  # fmt: skip


def alone() -> bool:
    """Whether large blocks have pages of their own, so that no gaps stay between them."""
    given = os.environ.get(ALONE, "")
    return given.isdigit() and int(given) <= 1 << 20


def state_of(model: nn.Module, context: int | None) -> int:
    """Bytes that one row remembers at the full context: keys and values, or a recurrent state."""
    told = getattr(getattr(model, "backbone", model), "state", None)
    if not callable(told):
        return 0
    total = 0
    for spec in told().values():
        size = torch.empty((), dtype=spec.dtype).element_size()
        for side in spec.shape:
            size *= side
        total += size * (context or 1 if spec.per_token else 1)
    return total


def available(device: torch.device) -> int:
    """Bytes that this process may still take: the least of what the machine has free and what its container allows."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_free()]
    for limit, used, cache in ((CGROUP / "memory.max", CGROUP / "memory.current", CGROUP / "memory.stat"),
                               (CGROUP / "memory/memory.limit_in_bytes", CGROUP / "memory/memory.usage_in_bytes",
                                CGROUP / "memory/memory.stat")):  # fmt: skip
        try:
            most, now = int(limit.read_text()), int(used.read_text())
            pages = dict(line.split() for line in cache.read_text().splitlines())
        except (OSError, ValueError):
            continue  # no such limit, or 'max'
        found.append(most - now + int(pages.get("inactive_file", 0)))
    return max(0, min(found))


def _free() -> int:
    """MemAvailable, or all of the machine's memory where the system does not say."""
    try:
        for line in (PROCESS / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def resident() -> int | None:
    """Bytes of memory that this process holds now; None where the system does not say."""
    return _status("VmRSS:")


def begin_peak() -> None:
    """Forgets the highest memory so far, so that `peak` is that of what follows. Linux alone; elsewhere it is the process's."""
    with suppress(OSError):
        (PROCESS / "self/clear_refs").write_text("5")


def peak() -> int | None:
    """The most memory that this process held since `begin_peak`."""
    return _status("VmHWM:")


def _status(name: str) -> int | None:
    try:
        for line in (PROCESS / "self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None

