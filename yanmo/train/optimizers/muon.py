"""Muon for the matrices of the layers, AdamW for the rest."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from yanmo.train.divided import home, joined, local, part
from yanmo.train.optimizers.base import Live, Optimizer, Rate, Share, implementation, narrowed


class Muon(Optimizer):
    """Muon for the matrices (Jordan et al. 2024), AdamW for the rest.

    The update of an m×n matrix is its Nesterov momentum, orthogonalised, times lr·sqrt(max(1, m/n)), so that every
    matrix moves by the same spectral norm whatever its shape (Bernstein 2025, "Deriving Muon"). Decay is decoupled.
    """

    lr: Rate | None = None  # of the matrices
    embedding_lr: Rate | None = None
    head_lr: Rate | None = None
    vector_lr: Rate | None = None
    momentum: Share = 0.95
    iterations: int = Field(default=5, ge=1)
    betas: tuple[Share, Share] = (0.8, 0.95)
    eps: float = Field(default=1e-10, gt=0)

    def filled(self, width: int, size: float | None = None) -> Self:
        return super().filled(width, size).model_copy(update={
            "lr": self.lr or 0.02,
            "embedding_lr": self.embedding_lr or narrowed(0.03, width),
            "head_lr": self.head_lr or narrowed(0.006, width),
            "vector_lr": self.vector_lr or narrowed(0.01, width),
        })  # fmt: skip

    def peak(self, group: str) -> float:
        rate = {"matrices": self.lr, "embedding": self.embedding_lr, "head": self.head_lr, "vectors": self.vector_lr}[group]
        assert rate is not None
        return rate

    def own(self, group: str) -> dict[str, Any]:
        if group == "matrices":
            return {"muon": True, "momentum": self.momentum, "iterations": self.iterations}
        return {"muon": False, "betas": self.betas, "eps": self.eps, "weight_decay": 0.0}

    def live(self, groups: list[dict[str, Any]], model: nn.Module) -> Live:
        return MuonAdamW(groups, implementation(model))


class MuonAdamW(Live):
    """One optimizer of both rules; the AdamW side is torch's own, so that it uses the fused kernel."""

    def __init__(self, groups: list[dict[str, Any]], kernel: dict[str, Any]):
        super().__init__(groups, {})
        rest = [group for group in self.param_groups if not group["muon"]]
        self.adamw = torch.optim.AdamW(rest, **kernel) if rest else None
        if self.adamw is not None:  # one state and one list of groups, seen by both
            self.adamw.state = self.state
            self.adamw.param_groups = rest

    def move(self) -> None:
        for group in self.param_groups:
            if group["muon"]:
                self._muon(group)
        if self.adamw is not None:
            self.adamw.step()

    def _muon(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [local(self.state[p]["momentum"]) for p in parameters]
        gradients = [local(p.grad) for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
        if group["weight_decay"]:
            torch._foreach_mul_([local(p) for p in parameters], 1 - group["lr"] * group["weight_decay"])
        homes = [home(p) for p in parameters]  # of one that is divided among processes, the whole is orthogonalised by each
        shapes: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for parameter, target, wanted in zip(parameters, homes, nesterov):
            sizes = list(getattr(parameter, "pieces", (len(target),)))  # maps side by side are matrices of their own
            for piece, direction in zip(target.split(sizes), joined(wanted, parameter).split(sizes)):
                shapes.setdefault(tuple(piece.shape), []).append((piece, direction))
        for (rows, columns), pairs in shapes.items():  # equal shapes together: one batched product for all of them
            updates = orthogonalise(torch.stack([direction for _, direction in pairs]), group["iterations"])
            scale = group["lr"] * math.sqrt(max(1.0, rows / columns))
            torch._foreach_add_([piece for piece, _ in pairs], list(updates.to(pairs[0][0].dtype).unbind(0)), alpha=-scale)
        for parameter, target in zip(parameters, homes):
            if target is not parameter:
                local(parameter).add_(part(target, parameter))


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
