"""Optimizers, and which of them each parameter gets.

Parameters fall into four groups by what they are: `matrices` (2-D weights inside the layers), `embedding` and `head`
(2-D with one row for each token of the vocabulary), `vectors` (norms, biases, scalars). AdamW trains all four; Muon
trains the matrices by orthogonalised momentum and leaves the rest to AdamW. A learning rate that the recipe leaves
open follows from the model's width (`rates`); the schedule's factor multiplies the group's own peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from yanmo.core.config import Part

WIDTH = 256  # the width at which the default rates were tuned; see LOG.md


class Optimizer(Part):
    """An optimizer's settings; `make` gives a torch optimizer whose groups carry `name` and `peak`."""

    weight_decay: float = Field(default=0.1, ge=0)

    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        raise NotImplementedError

    def filled(self, width: int) -> Optimizer:
        """The same settings with the learning rates that the recipe leaves open, for a model of this width."""
        return self


class AdamW(Optimizer):
    """Loshchilov and Hutter 2019: Adam with decoupled weight decay (on matrices, embedding and head alone).

    `lr` None: 4e-3 at width 256, scaled by 1/sqrt(width), as wider models take smaller steps."""

    lr: float | None = Field(default=None, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)

    base: ClassVar[float] = 4e-3

    def filled(self, width: int) -> AdamW:
        return self.model_copy(update={"lr": self.lr or round(self.base * math.sqrt(WIDTH / width), 8)})

    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        lr = self.filled(width_of(model)).lr
        assert lr is not None
        groups = [
            {"name": name, "params": params, "lr": lr, "peak": lr,
             "weight_decay": 0.0 if name == "vectors" else self.weight_decay}
            for name, params in partition(model).items() if params
        ]  # fmt: skip
        return torch.optim.AdamW(groups, lr=lr, betas=self.betas, eps=self.eps, **implementation(model))


class Muon(Optimizer):
    """Muon for the matrices (Jordan et al. 2024), AdamW for the rest.

    The update of an m×n matrix is its Nesterov momentum, orthogonalised, times lr·sqrt(max(1, m/n)), so that every
    matrix moves by the same spectral norm whatever its shape (Bernstein 2025, "Deriving Muon"). Decay is decoupled.
    """

    lr: float | None = Field(default=None, gt=0)  # of the matrices
    embedding_lr: float | None = Field(default=None, gt=0)
    head_lr: float | None = Field(default=None, gt=0)
    vector_lr: float | None = Field(default=None, gt=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)
    iterations: int = Field(default=5, ge=1)
    betas: tuple[float, float] = (0.8, 0.95)
    eps: float = Field(default=1e-10, gt=0)

    def filled(self, width: int) -> Muon:
        narrow = math.sqrt(WIDTH / width)
        return self.model_copy(update={
            "lr": self.lr or 0.02,
            "embedding_lr": self.embedding_lr or round(0.03 * narrow, 8),
            "head_lr": self.head_lr or round(0.006 * narrow, 8),
            "vector_lr": self.vector_lr or round(0.01 * narrow, 8),
        })  # fmt: skip

    def make(self, model: nn.Module) -> torch.optim.Optimizer:
        full = self.filled(width_of(model))
        rates = {"matrices": full.lr, "embedding": full.embedding_lr, "head": full.head_lr, "vectors": full.vector_lr}
        groups = []
        for name, params in partition(model).items():
            if not params:
                continue
            if name == "matrices":
                own: dict[str, Any] = {"muon": True, "momentum": self.momentum, "iterations": self.iterations,
                                       "weight_decay": self.weight_decay}  # fmt: skip
            else:
                own = {"muon": False, "betas": self.betas, "eps": self.eps, "weight_decay": 0.0}
            groups.append({"name": name, "params": params, "lr": rates[name], "peak": rates[name], **own})
        return MuonAdamW(groups, implementation(model))


class MuonAdamW(torch.optim.Optimizer):
    """One optimizer of both rules; the AdamW side is torch's own, so that it uses the fused kernel."""

    def __init__(self, groups: list[dict[str, Any]], kernel: dict[str, Any]):
        super().__init__(groups, {})
        rest = [group for group in self.param_groups if not group["muon"]]
        self.adamw = torch.optim.AdamW(rest, **kernel) if rest else None
        if self.adamw is not None:  # one state and one list of groups, seen by both
            self.adamw.state = self.state
            self.adamw.param_groups = rest

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            if group["muon"]:
                self._muon(group)
        if self.adamw is not None:
            self.adamw.step()

    def _muon(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in parameters]
        gradients = [p.grad for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        shapes: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for parameter, wanted in zip(parameters, nesterov):
            sizes = list(getattr(parameter, "pieces", (len(parameter),)))  # maps side by side are matrices of their own
            for piece, direction in zip(parameter.split(sizes), wanted.split(sizes)):
                shapes.setdefault(tuple(piece.shape), []).append((piece, direction))
        for (rows, columns), pairs in shapes.items():  # equal shapes together: one batched product for all of them
            updates = orthogonalise(torch.stack([direction for _, direction in pairs]), group["iterations"])
            scale = group["lr"] * math.sqrt(max(1.0, rows / columns))
            torch._foreach_add_([piece for piece, _ in pairs], list(updates.to(pairs[0][0].dtype).unbind(0)), alpha=-scale)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Each of (N, m, n) with its singular values pushed towards 1: the nearest semi-orthogonal matrix, roughly.

    Quintic Newton-Schulz X ← aX + (bA + cA²)X with A = XXᵀ. The coefficients differ by iteration: the optimal ones of
    Amsel et al. 2025 (Polar Express, algorithm 1, lower bound 1e-3), whose last row is repeated if need be.
    bfloat16 on a GPU and where autocast says so, as its noise does no harm (Jordan et al. 2024); else float32.
    """
    device = matrices.device.type
    x = matrices.to(torch.bfloat16 if matrices.is_cuda or torch.is_autocast_enabled(device) else torch.float32)
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT.contiguous()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for step in range(iterations):
        a, b, c = POLAR[min(step, len(POLAR) - 1)]
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


POLAR = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


# ------------------------------------------------------------------------------------------------ which parameter is what


def partition(model: nn.Module) -> dict[str, list[Tensor]]:
    """The model's trainable parameters by group, each once (a tied head is the embedding)."""
    groups: dict[str, list[Tensor]] = {"matrices": [], "embedding": [], "head": [], "vectors": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[group_of(name, parameter, model)].append(parameter)
    return groups


def group_of(name: str, parameter: Tensor, model: nn.Module) -> str:
    if parameter.ndim < 2 or min(parameter.shape) == 1:
        return "vectors"
    owner = model.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, nn.Embedding):
        return "embedding"
    vocabulary = getattr(model, "vocabulary", None)
    if parameter.shape[0] == vocabulary:
        return "embedding" if "embed" in name else "head"
    return "matrices" if parameter.ndim == 2 else "vectors"


def width_of(model: nn.Module) -> int:
    return int(getattr(model, "width", None) or WIDTH)


def implementation(model: nn.Module) -> dict[str, Any]:
    """The fused kernel where every parameter allows it (one pass over memory instead of about ten)."""
    parameters: Iterable[Tensor] = list(model.parameters())
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return {"fused": True} if fused else {"foreach": True}


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
