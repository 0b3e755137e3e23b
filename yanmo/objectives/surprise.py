"""-ln p of the tokens that a batch asks for: what every objective that predicts tokens minimises.

Only positions with a weight reach the model's head, and its logits are reduced chunk by chunk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from yanmo.models.base import Output, Slots
from yanmo.objectives.base import Batch, Loss


class Surprise(torch.autograd.Function):
    """-ln softmax(logits)[target] · weight for logits (n, V), targets and weights (n,), with the gradient written down:
    (softmax - onehot) · weight. Three passes over the logits fewer than through log_softmax and nll_loss.

    `smoothing` moves that share of each target to all V tokens alike (Szegedy et al. 2016, section 7)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
        logs = logits.log_softmax(-1)
        ctx.save_for_backward(logs, targets, weights)
        ctx.smoothing = smoothing
        found = -logs.gather(-1, targets[:, None]).squeeze(-1)
        if smoothing:
            found = (1 - smoothing) * found - smoothing * logs.mean(-1)
        return found * weights

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        logs, targets, weights = ctx.saved_tensors
        scale = (slopes[0] * weights)[:, None]
        gradient = logs.exp()
        gradient.scatter_add_(-1, targets[:, None], gradient.new_full((len(targets), 1), ctx.smoothing - 1.0))
        if ctx.smoothing:
            gradient.sub_(ctx.smoothing / gradient.shape[-1])
        return gradient.mul_(scale), None, None, None


def surprise(model: Any, batch: Batch, slots: Slots | None = None, smoothing: float = 0.0) -> Loss:
    """Every position's surprise with its weight: for batches nearly all of which is trained on. `smoothing`, like dropout, is
    of training alone."""
    assert batch.targets is not None
    assert batch.weights is not None
    targets, weights = batch.targets.reshape(-1), batch.weights.reshape(-1)
    smoothing = smoothing if model.training else 0.0

    def weighed(logits: Tensor, positions: Tensor) -> Tensor:  # weighed here: what is outside is a plain sum
        return Surprise.apply(logits.float(), targets[positions], weights[positions], smoothing)

    output = model(batch.inputs, slots, reduce=weighed)
    losses = output.reduced.view(batch.targets.shape)
    each = losses.detach().sum(1) / batch.weights.sum(1).clamp(min=1)
    return penalised(Loss(losses.sum(), batch.weights.sum(), each), output)


def selected(model: Any, batch: Batch, smoothing: float = 0.0) -> tuple[Loss, Output]:
    """The same where few positions are trained on: only those reach the head. With `accuracy`, the share of the targets that
    are the model's first choice. Also what the model gave."""
    assert batch.targets is not None
    assert batch.weights is not None
    chosen = batch.weights > 0
    targets, weights = batch.targets[chosen], batch.weights[chosen]
    smoothing = smoothing if model.training else 0.0

    def weighed(logits: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        right = logits.detach().argmax(-1) == targets[positions]
        return Surprise.apply(logits.float(), targets[positions], weights[positions], smoothing), right

    output = model(batch.inputs, select=chosen, reduce=weighed)
    losses, right = output.reduced
    rows = chosen.nonzero()[:, 0]
    sums = losses.new_zeros(len(chosen)).index_add(0, rows, losses)
    each = sums.detach() / batch.weights.sum(1).clamp(min=1)
    shares = {"accuracy": (right.sum(), torch.tensor(float(len(right)), device=right.device))}
    return penalised(Loss(sums.sum(), batch.weights.sum(), each, shares), output), output


def penalised(loss: Loss, output: Output) -> Loss:
    """With what the model adds to the mean loss (experts used unevenly), shown as a metric of its own."""
    if output.penalty is None:
        return loss
    amount = output.penalty * loss.weight
    return replace(loss, total=loss.total + amount, metrics={**loss.metrics, "penalty": (amount.detach(), loss.weight)})
