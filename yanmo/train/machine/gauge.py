"""What a training costs and how well it uses the machine: read after every step, said at the end.

    tokens_per_second   of the step
    mfu                 the model's operations a second over what the GPU's maker promises (`peaks`); GPUs that are known
    matrix_share        the same over the rate at which this machine multiplies this model's matrices (`matrix_rate`)
    memory_bytes        the most that was held so far: of the GPU's memory there, else of the process
    joules              energy since the start of the training, over all tries (`core.energy`); absent where unknown

None of it has any influence on what is trained.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from yanmo.core import energy
from yanmo.core.energy import Meter, weaker
from yanmo.models.adapter import shelved
from yanmo.objectives.base import Batch
from yanmo.train.machine.matrix_rate import matrix_rate, shapes_of
from yanmo.train.machine.peaks import peak

if TYPE_CHECKING:
    from yanmo.train.checkpoint import State

TIMED = frozenset({"seconds", "tokens_per_second", "mfu", "matrix_share", "memory_bytes", "joules"})
# the figures of a metrics line that differ from one run of the same recipe to the next


SHORT = 64  # tokens of a row, about, where a plan names no context: texts to label


@dataclass(frozen=True)
class Work:
    """Floating-point operations of training: `body` for a token that is read, `head` for one that is predicted. A masked
    model's head works for few of the tokens that it reads, a classifier's for one in a row."""

    body: float
    head: float = 0.0

    def of(self, micro: list[Batch]) -> float:
        """Of one step's micro-batches; padding is no work of the model's."""
        inputs = [batch.inputs for batch in micro]
        read = sum(float(each.tokens.numel() if each.mask is None else each.mask.sum()) for each in inputs)
        return self.body * read + self.head * sum(float(batch.weight) for batch in micro)


def work_of(model: nn.Module, context: int) -> Work:
    """By the part's own count, which knows its attention; else 6 for each weight that a token is multiplied with. Of weights
    that stay as they are less (`learned`)."""
    backbone = getattr(model, "backbone", model)  # of a classifier
    count = getattr(getattr(backbone, "part", None), "flops", None)
    share = learned(backbone)
    if callable(count):
        body = float(count(0, context))
        return Work(share * body, 0.0 if backbone is not model else share * (float(count(backbone.vocabulary, context)) - body))
    return Work(share * 6.0 * sum(outputs * inputs * times for (outputs, inputs), times in shapes_of(model).items()))


def learned(model: nn.Module) -> float:
    """How many of the six operations of a weight and token there are on average: two to use it, two for the gradient of its
    input, two for its own, which one that stays as it is has not; two alone where nothing of the model learns."""
    weights = [weight for weight in (*model.parameters(), *shelved(model)) if weight.ndim > 1]
    whole, own = (sum(w.numel() for w in some) for some in (weights, [w for w in weights if w.requires_grad]))
    if not own:
        return 1 / 3 if whole else 1.0
    return (4 + 2 * own / whole) / 6


class Gauge:
    """The figures of one training. Without `work` it tells speed, memory and energy alone."""

    def __init__(self, work: Work | None = None, device: torch.device | None = None,
                 rate: Callable[[], float | None] = lambda: None, country: str | None = None):  # fmt: skip
        self.work, self.device, self.country = work, device or torch.device("cpu"), country
        self._measure, self.rate = rate, rate()
        self.peak = peak(torch.cuda.get_device_name(self.device)) if self.device.type == "cuda" else None
        self._meter = Meter(gpus_of(self.device))
        self._base: tuple[float, str] | None = None
        self._operations = self._seconds = 0.0

    def step(self, micro: list[Batch], seconds: float, state: State) -> dict[str, float]:
        """The figures of the step that was just made of `micro` in `seconds`; `state` learns the energy so far."""
        tokens = sum(batch.inputs.tokens.numel() for batch in micro)
        found = {"tokens_per_second": round(tokens / seconds, 1)}
        if self.work is not None:
            operations = self.work.of(micro)
            self._operations, self._seconds = self._operations + operations, self._seconds + seconds
            found |= self._shares(operations / seconds)
        found["memory_bytes"] = memory_bytes(self.device)
        self._spend(state)
        if state.joules is not None:
            found["joules"] = state.joules
        return found

    def summary(self, state: State) -> dict[str, Any]:
        """What the training took, over all tries; the shares are means over this one. The machine's rate is measured once more:
        what else ran beside at the start made it look slow."""
        if self.rate is not None:
            self.rate = max(self.rate, self._measure() or 0.0)
        whole = self._shares(self._operations / self._seconds) if self._seconds else {}
        speed = round(state.tokens / state.seconds, 1) if state.seconds else None
        return {"seconds": round(state.seconds, 3), "tokens_per_second": speed, **whole,
                "matrix_rate": self.rate and round(self.rate), "memory_bytes": memory_bytes(self.device),
                "joules": state.joules, "method": state.power, **energy.carbon(state.joules, self.country)}  # fmt: skip

    def _shares(self, rate: float) -> dict[str, float]:
        found = {}
        if self.peak:
            found["mfu"] = round(rate / self.peak, 4)
        if self.rate:
            found["matrix_share"] = round(rate / self.rate, 4)
        return found

    def _spend(self, state: State) -> None:
        if self._base is None:
            self._base = (state.joules or 0.0, state.power)
        now = self._meter.read()
        state.power = weaker(self._base[1], now["method"])
        state.joules = None if state.power == "unknown" else round(self._base[0] + now["joules"], 1)


def gauge_of(model: nn.Module, plan: dict[str, Any], country: str | None) -> Gauge:
    """For a model that lies where it is trained; measures the machine's matrix rate with the rows of a micro-batch."""
    device, context = torch.device(plan["device"]), plan.get("context", SHORT)
    rows = plan["micro_rows"] * context
    gauge = Gauge(work_of(model, context), device, lambda: matrix_rate(model, rows, device, plan["precision"]), country)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return gauge


def gpus_of(device: torch.device) -> list[str]:
    """The UUID of the device, as NVML knows it."""
    if device.type != "cuda":
        return []
    return [str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))]


def memory_bytes(device: torch.device) -> int:
    """The most that was held so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit if os.name == "posix" else 0
