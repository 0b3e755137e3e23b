"""How a training is divided among processes: the recipe's `train.parallel`, and the worlds that it makes.

    ddp     every rank has the whole model; gradients are added up while the backward pass goes on (torch's DDP)
    fsdp    parameters, gradients and the optimizer's memory lie in slices on all ranks, and a block's are put together when it
            is computed (torch's FSDP2, `fully_shard`)
    context c   c ranks share the positions of each row (context.py), for rows too long for one
    tensor t    t ranks share the heads and channels of each layer (tensor.py), for layers too wide for one; with ddp

Ranks that are left over share the step's micro-batches: with 16 ranks and `{type: ddp, context: 2, tensor: 4}` there are two
shares. Ranks of one `tensor` group are neighbours (they speak most often, and belong on one machine), then those of `context`.
"""

from __future__ import annotations

import copy
import signal as signals
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn

from yanmo.core.config import Part
from yanmo.core.console import Console
from yanmo.core.crew import Crew
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.objectives.base import Batch, Loss, Objective
from yanmo.train.checkpoint import Snapshot, State
from yanmo.train.divided import divided, local, whole
from yanmo.train.parallel import sharded
from yanmo.train.parallel.context import Context
from yanmo.train.parallel.heartbeat import Heartbeat
from yanmo.train.parallel.ranks import Ranks
from yanmo.train.parallel.share import Share, weighed
from yanmo.train.parallel.tensor import divide
from yanmo.train.world import World
from yanmo.train.writer import Writer

if TYPE_CHECKING:
    from yanmo.train.job import Verdict
    from yanmo.train.machine.room import Room


class Parallel(Part):
    """`heartbeat`: seconds until a rank that is dead or behind is named."""

    context: int = Field(default=1, ge=1)
    heartbeat: float = Field(default=30.0, gt=0)


class Ddp(Parallel):
    """The whole model on every rank, each with its share of the rows; gradients are added up."""

    type: Literal["ddp"] = "ddp"
    tensor: int = Field(default=1, ge=1)


class Fsdp(Parallel):
    """A slice of the model on every rank, put together block by block as it is computed: for models that one GPU cannot hold."""

    type: Literal["fsdp"] = "fsdp"


def world_of(crew: Crew, parallel: Any, device: torch.device) -> World:
    """The world of a training stage. RequestError for ranks that cannot be divided so, or for a setting without effect."""
    if not isinstance(crew, Ranks):
        if parallel is not None and (parallel.context, getattr(parallel, "tensor", 1)) != (1, 1):
            raise RequestError("train.parallel", text("several ranks, without which 'context' and 'tensor' have no effect"),
                               text("one"), text("start it with 'yanmo run RECIPE --ranks N' or torchrun"))  # fmt: skip
        return World()
    chosen = parallel or Ddp()
    inner = chosen.context * getattr(chosen, "tensor", 1)
    if crew.size % inner:
        raise RequestError("train.parallel", text("'context' times 'tensor' that divides the {size} ranks", size=crew.size),
                           str(inner))  # fmt: skip
    crew.group(device.type)
    return (Sharded if isinstance(chosen, Fsdp) else Replicated)(crew, chosen, device)


class Trained(nn.Module):
    """A model's loss on a batch as one module, so that whatever the objective asks the model for lies within."""

    def __init__(self, model: nn.Module, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> Loss:
        return weighed(self.objective.loss(self.model, batch), batch)


def without_tables(model: nn.Module) -> None:
    """RequestError for hashed n-grams: their gradients are rows of a whole table, and an n-gram is cut where a row's positions
    are divided."""
    if any(isinstance(module, nn.EmbeddingBag) for module in model.modules()):
        raise RequestError("train.parallel", text("a model without 'embedding.grams', or 'type: ddp' alone"),
                           text("one with them"),
                           text("leave out 'context' and 'tensor', and use 'parallel: {{type: ddp}}'"))  # fmt: skip


class Replicated(World):
    """The whole model on every rank (of a `tensor` group, its part)."""

    def __init__(self, ranks: Ranks, parallel: Parallel, device: torch.device):
        self.ranks, self.parallel = ranks, parallel
        self.rank, self.size = ranks.rank, ranks.size
        context, tensor = parallel.context, getattr(parallel, "tensor", 1)
        grid = torch.arange(self.size).view(-1, context, tensor)
        self.shares = len(grid)
        self.mine = int((grid == self.rank).nonzero()[0, 0])  # which share of the micro-batches
        self.tensor_group = _among(grid.reshape(-1, tensor), self.rank)
        context_group = _among(grid.transpose(1, 2).reshape(-1, context), self.rank)
        self.peers = _among(grid.permute(2, 0, 1).reshape(tensor, -1), self.rank)  # with the same part of the model
        self.context = Context(context_group) if context > 1 else None
        self.heart = Heartbeat(ranks, parallel.heartbeat, lambda line: Console().warn(text("heartbeat: {line}", line=line)))
        self.device = device
        self._plain: nn.Module | None = None
        self._ddp: Any = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    # -------------------------------------------------------------------------------------------- the model

    def place(self, model: nn.Module, device: torch.device) -> nn.Module:
        self.device = torch.device("cuda", self.ranks.local) if device.type == "cuda" else device
        if self.context is not None or self.tensor_group is not None:
            without_tables(model)
        if self.context is not None:
            self.context.enter(model)
        if self.tensor_group is not None:
            self._plain = twin(model) if self.first else model
            divide(model, self.tensor_group)
        return model.to(self.device)

    def plain(self, model: nn.Module) -> nn.Module:
        if self._plain is None:
            return model
        named = dict(model.named_parameters())
        own = self._plain.state_dict() if self.first else {}
        with torch.no_grad():
            for name, value in model.state_dict().items():
                full = whole(value, named.get(name, value))
                if self.first:
                    own[name].copy_(full)
        return self._plain

    def forward(self, model: nn.Module, objective: Objective) -> Callable[[Batch], Loss]:
        if objective.carries:
            raise RequestError("objective.carry", text("one process, whose rows go on from step to step"),
                               text("{size} ranks", size=self.size))  # fmt: skip
        trained = Trained(model, objective)
        if self.context is not None:
            self.context.check(model, objective)
        if self.peers is None:
            return self._within(trained)
        from torch.nn.parallel import DistributedDataParallel

        # No buffer is sent: each rank has loaded the same, and what an adapter leaves as it is (a whole model, perhaps in four
        # bits) would go round before every pass, written over in place while an earlier pass's gradient still needs it.
        self._ddp = DistributedDataParallel(trained, process_group=self.peers, find_unused_parameters=True,
                                            gradient_as_bucket_view=True, broadcast_buffers=False)  # fmt: skip
        self._ddp.register_comm_hook(None, lambda state, bucket: self._add(bucket))
        return self._within(self._ddp)

    def _within(self, module: nn.Module) -> Callable[[Batch], Loss]:
        """The module's loss, of rows whose positions are divided within the context that they belong to."""
        return module if self.context is None else self.context.within(module)

    def _add(self, bucket: dist.GradBucket) -> Any:
        """DDP's gradients are added up, not averaged: they are parts of one sum."""
        if bucket.is_last():  # this rank has computed all of its own
            self.at("reduce")
        work = dist.all_reduce(bucket.buffer(), group=self.peers, async_op=True)
        return work.get_future().then(lambda future: future.value()[0])

    # -------------------------------------------------------------------------------------------- a step

    def share(self, micro: list[Batch]) -> list[Batch]:
        count = -(-len(micro) // self.shares)
        own = [Share.of(batch) for batch in micro[self.mine :: self.shares]]
        own += [Share.of(micro[0], spare=True) for _ in range(count - len(own))]
        own = own if self.context is None else [self.context.cut(batch) for batch in own]
        return [batch.pinned() for batch in own] if self.device.type == "cuda" else list(own)

    def seed(self, step: int, index: int) -> int:
        place = 0 if self.context is None else self.context.rank
        return step + index * self.shares + self.mine + (place << 48)

    def sync(self, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last or self._ddp is None else self._ddp.no_sync()

    def total(self, value: Any) -> Any:
        if self.peers is None:
            return value
        sent = value.clone() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(sent, group=self.peers)
        return sent if isinstance(value, Tensor) else float(sent)

    def totals(self, sums: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
        if not sums:
            return sums
        flat = torch.tensor([float(x) for pair in sums.values() for x in pair], dtype=torch.float64, device=self.device)
        pairs = self.total(flat).view(-1, 2).tolist()
        return {name: (amount, count) for name, (amount, count) in zip(sums, pairs, strict=True)}

    def norm(self, parameters: list[Tensor]) -> Tensor:
        if self.tensor_group is None:
            return super().norm(parameters)
        held = [p for p in parameters if p.grad is not None]
        parts, common = (torch.nn.utils.get_total_norm([p.grad for p in held if p.grad is not None and divided(p, p) is cut])
                         for cut in (True, False))  # fmt: skip
        square = parts.square()
        dist.all_reduce(square, group=self.tensor_group)
        return (square + common.square()).sqrt()

    def at(self, phase: str, step: int | None = None) -> None:
        self.heart.at(phase, step)

    def agree(self, signal: str | None) -> str | None:
        number = torch.tensor(signals.Signals[signal].value if signal else 0, device=self.device)
        dist.all_reduce(number, op=dist.ReduceOp.MAX)
        return signals.Signals(int(number)).name if int(number) else None

    def largest(self, value: float) -> float:
        sent = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(sent, op=dist.ReduceOp.MAX)
        return float(sent)

    def same(self, verdict: Verdict) -> Verdict:
        sent = torch.tensor([*verdict.rank, *verdict.figures.values()], dtype=torch.float64, device=self.device)
        dist.broadcast(sent, 0)
        values = sent.tolist()
        count = len(verdict.rank)
        return replace(verdict, rank=tuple(values[:count]), figures=dict(zip(verdict.figures, values[count:], strict=True)))

    # -------------------------------------------------------------------------------------------- files

    def folder(self, folder: Path) -> Path:
        if self.first:
            return folder
        self._scratch = self._scratch or tempfile.TemporaryDirectory(prefix=f"yanmo-rank-{self.rank}-")
        return Path(self._scratch.name)

    def checkpoints(self, folder: Path) -> Path:
        found = super().checkpoints(folder) if self.first else Path()
        told = self.ranks.tell("checkpoints", str(found.absolute()))
        return found if self.first else Path(told)

    def newest(self, find: Callable[[], Path | None]) -> Path | None:
        found = find() if self.first else None
        name = self.ranks.tell("newest", "" if found is None else str(found))
        return Path(name) if name else None

    def writer(self, folder: Path, keep: int, best_step: int, console: Console, what: str) -> Writer:
        return (Writer if self.first else Onlooker)(folder, keep, best_step, console, what)

    def snapshot(self, state: State, model: nn.Module, optimizer: torch.optim.Optimizer, carried: dict[str, Tensor] | None,
                 made_for: dict[str, Any]) -> Snapshot:  # fmt: skip
        if self.first or self.tensor_group is not None:  # what is divided is put together by all
            return super().snapshot(state, model, optimizer, carried, made_for)
        return Snapshot(asdict(state), {}, {}, {}, made_for)

    def room(self, room: Room) -> None:
        return None

    def leave(self) -> None:
        self.heart.at("end")
        self.heart.end()
        if self.context is not None:
            self.context.leave()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


class Onlooker(Writer):
    """The writer of a process that writes nothing."""

    def save(self, held: Snapshot, began: float | None = None) -> None:
        pass

    def prune(self) -> None:
        pass


class Together(Writer):
    """The writer of a model in slices: all ranks write their own, before training goes on; the first one keeps and removes."""

    def __init__(self, folder: Path, keep: int, best_step: int, console: Console, what: str, ranks: Ranks):
        super().__init__(folder, keep, best_step, console, what)
        self.ranks = ranks

    def save(self, held: Snapshot, began: float | None = None) -> None:
        began = time.monotonic() if began is None else began
        sharded.write(self.folder, held, self.ranks)
        self.prune()
        spent = time.monotonic() - began
        self.seconds, self.waited = self.seconds + spent, self.waited + spent

    def prune(self) -> None:
        if self.ranks.first:
            super().prune()


class Sharded(Replicated):
    """A slice of each parameter on every rank (FSDP2)."""

    def place(self, model: nn.Module, device: torch.device) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        self.device = torch.device("cuda", self.ranks.local) if device.type == "cuda" else device
        without_tables(model)
        if self.context is not None:
            self.context.enter(model)
        self._plain = twin(model) if self.first else model
        pieces = {name: parameter.pieces for name, parameter in model.named_parameters() if hasattr(parameter, "pieces")}
        mesh = init_device_mesh(self.device.type, (self.size,))
        for region in blocks(model):
            fully_shard(region, mesh=mesh)  # which moves it to the device, so that no GPU ever holds the whole
        fully_shard(model, mesh=mesh)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)  # added up, not averaged
                module.set_force_sum_reduction_for_comms(True)  # gloo knows no sum with a factor
        for name, parameter in model.named_parameters():
            if name in pieces:
                parameter.pieces = pieces[name]  # type: ignore[attr-defined]
        return model

    def forward(self, model: nn.Module, objective: Objective) -> Callable[[Batch], Loss]:
        self.peers = dist.group.WORLD
        if objective.carries:
            raise RequestError("objective.carry", text("one process, whose rows go on from step to step"),
                               text("{size} ranks", size=self.size))  # fmt: skip
        if self.context is not None:
            self.context.check(model, objective)
        return self._within(Trained(model, objective))

    def norm(self, parameters: list[Tensor]) -> Tensor:
        square = torch.nn.utils.get_total_norm([local(p.grad) for p in parameters if p.grad is not None]).square()
        dist.all_reduce(square)
        return square.sqrt()

    def restore(self, path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, made_for: dict[str, Any]) -> State:
        return sharded.restore(path, model, optimizer, made_for)

    def snapshot(self, state: State, model: nn.Module, optimizer: torch.optim.Optimizer, carried: dict[str, Tensor] | None,
                 made_for: dict[str, Any]) -> Snapshot:  # fmt: skip
        return sharded.snapshot(state, model, optimizer, made_for)

    def writer(self, folder: Path, keep: int, best_step: int, console: Console, what: str) -> Writer:
        return Together(folder, keep, best_step, console, what, self.ranks)


def twin(model: nn.Module) -> nn.Module:
    """A copy, with what its parameters say of themselves (`pieces`), which copying forgets."""
    made = copy.deepcopy(model)
    for own, other in zip(model.parameters(), made.parameters(), strict=True):
        other.__dict__.update(own.__dict__)
    return made


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layers that repeat, each called as a module: the Transformer's blocks, and those of a Hugging Face model."""
    from yanmo.nn.block import Block

    found: list[nn.Module] = [module for module in model.modules() if isinstance(module, Block)]
    return found or [module for module in model.modules() if type(module).__name__.endswith(("DecoderLayer", "EncoderLayer"))]


def _among(lists: Tensor, rank: int) -> Any:
    """The group of the list that `rank` is in, None where it is alone; every rank makes all groups, in the same order."""
    found = None
    for ranks in lists.tolist():
        group = dist.new_group(ranks) if len(ranks) > 1 else None
        if rank in ranks:
            found = group
    return found
