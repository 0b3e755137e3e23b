"""A training step rehearsed with tensors that have shapes and no contents, to see how much memory it would take.

The model is built, fed and trained for two steps under torch's FakeTensorMode, by the very code that trains it, while a
ledger counts the storages that live: parameters, gradients, what the optimizer remembers, what the backward pass needs,
the loss's chunks of logits. It takes a second and no memory whatever the model's size, and no formula of ours can fall
behind the code. What depends on contents stays real: token ids, masks, the borders of documents.

A model whose own course depends on its numbers (experts, to whom tokens are sent by what they are) cannot be rehearsed so;
it is tried for real on few rows, and what a row takes is carried on to as many as the plan has.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from yanmo.models.base import Inputs
from yanmo.nn import heads
from yanmo.objectives.base import Batch, Objective
from yanmo.train.job import Job
from yanmo.train.optimizers import rows
from yanmo.train.optimizers.base import Live
from yanmo.train.randomness import own_random_numbers, seeded
from yanmo.train.schedule import Constant
from yanmo.train.step import forward_of, update


class Ledger(TorchDispatchMode):
    """Counts the bytes of the storages that operations make while it is on: `live` now, `peak` since the last `mark`."""

    def __init__(self, fake: Any = None) -> None:
        super().__init__()
        self.fake = fake
        self.live = self.peak = 0
        self._known: set[int] = set()

    def mark(self) -> int:
        """Begins a new peak; returns what lives now."""
        self.peak = self.live
        return self.live

    def adopt(self, tensors: Any) -> None:
        """Counts tensors that were there before."""
        for tensor in tensors:
            self._count(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.fake is not None:
            found = _unreal(func, args, kwargs, self.fake)
            if found is not NotImplemented:
                return found
            if func in INDEXED:
                args = (args[0], _numbered(args[1]), *args[2:])
            args, kwargs = tree_map_only(Tensor, self._imagined(args, kwargs), (args, kwargs))
        out = func(*args, **kwargs)
        for item in tree_flatten(out)[0]:
            if isinstance(item, Tensor):
                self._count(item)
        return out

    def _imagined(self, args: Any, kwargs: Any) -> Callable[[Tensor], Tensor]:
        """Real tensors beside imagined ones become imagined; among themselves they stay real."""
        from torch._subclasses.fake_tensor import FakeTensor

        given = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)]
        if not any(isinstance(item, FakeTensor) for item in given):
            return lambda tensor: tensor
        return lambda tensor: tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)

    def _count(self, tensor: Tensor) -> None:
        if tensor.is_sparse:  # it has no storage of its own
            self.adopt((tensor._indices(), tensor._values()))
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


TOKENS = 4096  # of a micro-batch that is rehearsed whole
INDEXED = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default,
           torch.ops.aten._index_put_impl_.default, torch.ops.aten._unsafe_index.Tensor}  # fmt: skip


def _numbered(indices: Any) -> list[Any]:
    """Masks (which of them are true is known: they are real) as the numbers of what they pick."""
    from torch._subclasses.fake_tensor import FakeTensor

    made: list[Any] = []
    for index in indices:
        mask = isinstance(index, Tensor) and not isinstance(index, FakeTensor) and index.dtype == torch.bool
        made += list(index.nonzero().unbind(1)) if mask else [index]
    return made


def _unreal(func: Any, args: Any, kwargs: Any, fake: Any) -> Any:
    """Answers to what only contents could answer, where that steers nothing but a figure or a shortcut: yes, and one."""
    from torch._subclasses.fake_tensor import FakeTensor

    if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
        return True if args[0].dtype == torch.bool else 1
    if func._schema.is_mutable and args and isinstance(args[0], Tensor) and not isinstance(args[0], FakeTensor):
        rest = tree_flatten((args[1:], kwargs))[0]
        if any(isinstance(item, FakeTensor) for item in rest):
            return args[0]  # a real counter that an imagined figure is added to
    return NotImplemented


@dataclass(frozen=True)
class Rehearsed:
    """Bytes. `parameters` (buffers included) and `optimizer` stay; `gradients` from the first backward pass of a step to its
    end; `forward` is the peak of passes forward and backward, `step` that of the optimizer's step, both with all that stays."""

    parameters: int
    optimizer: int
    gradients: int
    forward: int
    step: int
    how: str  # 'rehearsed' or 'tried'

    @property
    def activations(self) -> int:
        """What passes forward and backward hold beside what stays and the gradients, at most."""
        return max(0, self.forward - self.parameters - self.optimizer - self.gradients)

    @property
    def peak(self) -> int:
        return max(self.forward, self.step)


Source = Callable[[], nn.Module] | nn.Module  # how to make the model, or the model itself, which is not touched


def rehearse(source: Source, optimizer: Any, objective: Objective, batches: list[Batch], precision: str,
             device: torch.device) -> Rehearsed:  # fmt: skip
    """A step of `batches` by `optimizer` (a part): of its first micro-batch, behind others where there are more than one. Of a
    large one, fewer rows are rehearsed, and what a row takes is carried on."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    whole = len(batches[0].inputs.tokens)
    few = min(whole, max(2, TOKENS // batches[0].inputs.tokens.shape[1]))
    if few < whole:
        sizes = (max(1, few // 2), few)
        return carried_on([rehearse(source, optimizer, objective, [first_rows(b, n) for b in batches], precision, device)
                           for n in sizes], sizes, whole)  # fmt: skip
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with own_random_numbers():
        model = imagined(source, fake)
        plain = batches[0].inputs.documents is None and batches[0].inputs.mask is None
        if plain and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            raise NotImplementedError("oneDNN's layer keeps a workspace of a size that it alone knows")
        model.train()
        with fake:
            chosen = optimizer.make(model)
        return _steps(model, chosen, objective, batches, precision, device, Ledger(fake), "rehearsed")


class Nowhere(TorchDispatchMode):
    """New tensors of numbers have a shape and a type, and no place in memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)]
        names = {argument.name for argument in func._schema.arguments}
        whole = kwargs.get("dtype") is not None and not kwargs["dtype"].is_floating_point
        if any(item.is_meta for item in given):
            args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
            if "device" in names and not whole:
                kwargs["device"] = torch.device("meta")
        elif not given and "size" in names and "device" in names and not whole:
            kwargs["device"] = torch.device("meta")
            kwargs.pop("generator", None)
            if "generator" in names:
                return torch.empty(args[0], dtype=kwargs.get("dtype"), device="meta")
        return func(*args, **kwargs)


def imagined(source: Source, fake: Any) -> nn.Module:
    """The model with tensors that have no contents, on the CPU as far as anyone can tell."""
    from torch._subclasses.fake_tensor import FakeTensor

    if isinstance(source, nn.Module):
        model = source
    else:
        with Nowhere():
            model = source()
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            empty: Any = FakeTensor(fake, tensor.detach().to("meta"), torch.device("cpu"))
            if isinstance(tensor, nn.Parameter):
                empty = nn.Parameter(empty, tensor.requires_grad)
                empty.__dict__.update(tensor.__dict__)  # what their makers wrote on them
            memo[id(tensor)] = empty
    return copy.deepcopy(model, memo)


def tried(source: Source, optimizer: Any, objective: Objective, batches: list[Batch], precision: str,
          device: torch.device) -> Rehearsed:  # fmt: skip
    """The same for real on few rows of `batches`, carried on to as many as their first has: on so many that the logits, of which
    no more than a chunk is held at a time, already fill one, and on one more."""
    found: list[Rehearsed] = []
    whole = len(batches[0].inputs.tokens)
    with own_random_numbers():
        model = source if isinstance(source, nn.Module) else source()
        logits = max(max(p.shape) for p in model.parameters()) * batches[0].inputs.tokens.shape[1]  # of a row
        least = min(whole, -(-heads.ELEMENTS // logits))
        sizes = (least, min(whole, least + 1))
        for count in sizes:
            model = (copy.deepcopy(source) if isinstance(source, nn.Module) else source()).to(device)
            model.train()
            few = [first_rows(batch, count) for batch in batches]
            found.append(_steps(model, optimizer.make(model), objective, few, precision, device, Ledger(), "tried"))
    return carried_on(found, sizes, whole)


def carried_on(found: list[Rehearsed], sizes: tuple[int, int], rows: int) -> Rehearsed:
    """Two rehearsals of so many rows each, carried on to `rows`: what comes and goes grows with them."""
    less, more = found
    slope = max(0, more.forward - less.forward) / max(1, sizes[1] - sizes[0])
    return replace(more, forward=round(more.forward + slope * (rows - sizes[1])))


def first_rows(batch: Batch, count: int) -> Batch:
    """The first rows of a batch."""

    def cut(value: Any) -> Any:
        if isinstance(value, Inputs):
            return replace(value, **{name: cut(item) for name, item in vars(value).items()})
        return value[:count] if isinstance(value, Tensor | list) else value

    return replace(batch, **{name: cut(value) for name, value in vars(batch).items()})


def _steps(model: nn.Module, optimizer: Live, objective: Objective, batches: list[Batch], precision: str,
           device: torch.device, ledger: Ledger, how: str) -> Rehearsed:  # fmt: skip
    job = Job(model, objective, _Given(batches), optimizer, Constant(), 1, Path(), 0, device, precision)
    forward, plain, peaks = forward_of(job), optimizer.step, {"forward": 0, "step": 0}

    def step(*args: Any, **kwargs: Any) -> Any:
        peaks["forward"] = ledger.peak
        ledger.mark()
        made = plain(*args, **kwargs)
        peaks["step"] = ledger.peak
        return made

    dense = [p for group in optimizer.param_groups if group.get("name") != rows.NAME for p in group["params"]]
    ledger.adopt([*model.parameters(), *model.buffers()])
    parameters = ledger.live
    optimizer.step = step  # type: ignore[method-assign]
    with ledger:
        update(job, forward, [first_rows(batches[0], 1)], seeded(0, 0))  # the optimizer has something to remember
        if len(batches) > 1:  # those of the micro-batches before stay
            for parameter in dense:
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        ledger.mark()
        update(job, forward, batches[:1], seeded(0, 1))
    remembered = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    gradients = sum(p.numel() * p.element_size() for p in dense if p.requires_grad)
    return Rehearsed(parameters, sum(value.numel() * value.element_size() for value in remembered), gradients,
                     peaks["forward"], peaks["step"], how)  # fmt: skip


@dataclass
class _Given:
    """The same micro-batches at every step."""

    batches: list[Batch]

    def take(self, cursor: tuple[int, int], rng: torch.Generator) -> tuple[list[Batch], tuple[int, int]]:
        return self.batches, cursor

    def describe(self, items: list[Any]) -> str:
        return str(items)
