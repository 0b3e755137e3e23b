"""Where a step stops being finite: done once more, from the same state and random numbers, with an eye on every layer.

Forward, the first module in the order of computation whose output holds a NaN or an infinity; where all outputs and the
loss are finite, backward, the first gradient on its way back that is not. Weights are looked at before anything is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from yanmo.core.messages import Text, text
from yanmo.objectives.base import Batch
from yanmo.train.machine.precision import autocast
from yanmo.train.optimizers import rows
from yanmo.train.randomness import Moment
from yanmo.train.step import Aside, Carried, parts_of

if TYPE_CHECKING:
    from yanmo.train.job import Job

LARGE = 1e4  # activations beyond this have grown without bound: a sound model's stay below a few hundred


@dataclass(frozen=True)
class Diagnosis:
    """`what` is not finite first: "weights", "output" or "gradient" of `layer`, the "loss", or "nothing" the second time.
    `largest`: the largest magnitude of a finite value before it; `items`: rows whose own loss is not finite."""

    what: str
    cause: Text
    remedy: Text
    layer: str | None = None
    dtype: str | None = None
    largest: float | None = None
    items: list[Any] = field(default_factory=list)

    @property
    def where(self) -> Text:
        if self.layer is None:
            return text("the loss") if self.what == "loss" else text("no layer")
        named = {"weights": text("the weights of {layer}", layer=self.layer), "output": text("the output of {layer} ({dtype})",
                 layer=self.layer, dtype=self.dtype), "gradient": text("the gradient at {layer} ({dtype})", layer=self.layer,
                 dtype=self.dtype)}  # fmt: skip
        return named[self.what]


class Watch:
    """Hooks on every module: the first output that is not finite, then the first gradient."""

    def __init__(self, model: nn.Module):
        self.output: tuple[str, str] | None = None
        self.gradient: tuple[str, str] | None = None
        self.largest = 0.0
        self._handles = [module.register_forward_hook(self._seen(name)) for name, module in model.named_modules() if name]

    def _seen(self, name: str) -> Any:
        def seen(module: nn.Module, inputs: Any, output: Any) -> None:
            for value in tensors(output):
                if self.output is None:
                    finite = torch.isfinite(value)
                    magnitudes = value.detach().float().abs()[finite]
                    self.largest = max(self.largest, float(magnitudes.max()) if magnitudes.numel() else 0.0)
                    if not bool(finite.all()):
                        self.output = (name, kind(value))
                if value.requires_grad:
                    value.register_hook(self._back(name))

        return seen

    def _back(self, name: str) -> Any:
        def back(gradient: Tensor) -> None:
            if self.gradient is None and not bool(torch.isfinite(gradient).all()):
                self.gradient = (name, kind(gradient))

        return back

    @property
    def found(self) -> tuple[str, str] | None:
        return self.output or self.gradient

    def look_at(self, model: nn.Module) -> None:
        """Gradients of parameters too, of which no module's output tells."""
        if self.gradient is None:
            hurt = ((name, kind(gradient)) for name, p in model.named_parameters()
                    for gradient in rows.held([p]) if not bool(torch.isfinite(gradient).all()))  # fmt: skip
            self.gradient = next(hurt, None)

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


def diagnose(job: Job, micro: list[Batch], rng: torch.Generator, rising: bool, carried: Carried = None) -> Diagnosis:
    """What is not finite first in this step, whose rows go on from `carried`; leaves no gradients. `rng` and torch's own stand
    where the step began."""
    damaged = [(name, kind(p)) for name, p in job.model.named_parameters() if not bool(torch.isfinite(p).all())]
    if damaged:
        return Diagnosis("weights", text("they were not finite when the step began"),
                         text("the model that it started from is damaged, or the step before moved them out of range: lower the "
                              "learning rate (train.optim.lr)"), *damaged[0])  # fmt: skip
    if job.world.size > 1:  # doing it again would have to be done by all of them alike
        return Diagnosis("nothing", text("where it begins is looked for with one process only"),
                         text("lower the learning rate (train.optim.lr), or go on from the checkpoint with one "
                              "process"))  # fmt: skip
    begun = Moment(rng)
    watch, guilty, lost = once_more(job, micro, rng, job.precision, carried)
    if job.precision == "fp16" and (watch.found or lost):
        begun.again()
        wide, _, lost_too = once_more(job, micro, rng, "fp32", carried)
        if not (wide.found or lost_too):
            what = "loss" if watch.found is None else "output" if watch.output else "gradient"
            layer, dtype = watch.found or (None, "float16")
            return Diagnosis(what, text("in float32 the same step is finite: float16 holds nothing above 65504"),
                             text("set train.precision to bf16 or fp32"), layer, dtype, watch.largest, guilty)  # fmt: skip
    if watch.output is not None:
        return Diagnosis("output", *grown(watch.largest, rising), *watch.output, watch.largest, guilty)
    if lost:
        return Diagnosis("loss",
                         text("every layer is finite, the loss is not: the log of 0, or a division by 0, in the objective"),
                         text("look at what its targets and weights are for these rows, or lower the learning rate "
                              "(train.optim.lr)"), largest=watch.largest, items=guilty)  # fmt: skip
    if watch.gradient is not None:
        return Diagnosis("gradient", *backward(watch.largest, rising), *watch.gradient, watch.largest, guilty)
    return Diagnosis("nothing",
                     text("the same step is finite when it is done again: a fault of the machine, or a kernel that does not "
                          "give the same twice"),
                     text("run the same command again, and test the machine's memory if it comes back; or lower the learning "
                          "rate (train.optim.lr)"), largest=watch.largest, items=guilty)  # fmt: skip


def once_more(job: Job, micro: list[Batch], rng: torch.Generator, precision: str,
              carried: Carried) -> tuple[Watch, list[Any], bool]:  # fmt: skip
    """The step forward and backward, up to where it stops being finite: what was seen, rows whose own loss is not finite, and
    whether the whole loss is not."""
    watch, guilty, lost, aside = Watch(job.model), [], False, Aside(carried)
    scaler = job.scaler if precision == "fp16" else None
    try:
        with torch.compiler.set_stance("force_eager"):  # a compiled layer calls no hooks
            parts, dice = parts_of(job, micro, rng)
            weight = sum(part.weight for part in parts)
            for index, part in enumerate(parts):
                torch.manual_seed(job.world.seed(dice, index))
                aside.begin(part)
                part = part.to(job.device)
                with autocast(precision, job.device):
                    loss = job.objective.loss(job.model, part)
                lost = not bool(torch.isfinite(loss.total))
                if len(loss.rows) == len(part.items):
                    guilty += [item for item, fine in zip(part.items, torch.isfinite(loss.rows).tolist()) if not fine]
                if watch.output is None and not lost:
                    mean = loss.total / weight
                    (mean if scaler is None else scaler.scale(mean)).backward()
                    watch.look_at(job.model)
                if watch.found or lost:
                    break
    finally:
        watch.close()
        job.optimizer.zero_grad(set_to_none=True)
    return watch, guilty, lost


def grown(largest: float, rising: bool) -> tuple[Text, Text]:
    """(cause, remedy) of an output that is not finite."""
    if largest > LARGE or rising:
        return fast(largest)
    return (text("finite values up to {largest} went in: a division by 0, the log of 0, or the root of a negative number there",
                 largest=f"{largest:.3g}"), look())  # fmt: skip


def backward(largest: float, rising: bool) -> tuple[Text, Text]:
    """(cause, remedy) of a gradient that is not finite, behind a finite loss."""
    if largest > LARGE or rising:
        return fast(largest)
    return text("the loss is finite, its slope is not: a root, a norm or a log at 0"), look()


def fast(largest: float) -> tuple[Text, Text]:
    return (text("values had grown to {largest} before it: the learning rate is too high", largest=f"{largest:.3g}"),
            text("lower the learning rate (train.optim.lr), or warm up longer (train.schedule.warmup)"))  # fmt: skip


def look() -> Text:
    return text("look at that layer and at these rows, or lower the learning rate (train.optim.lr)")


def tensors(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in what a module gave."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors(vars(value))


def kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
