"""Held-out rows through a model with a head: its scores, and the objective's loss, batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from yanmo.core.data import Row
from yanmo.inference.likelihood import device_of

TOKENS = 8192  # in one pass, padding included


@torch.no_grad()
def scored(model: torch.nn.Module, objective: Any, rows: list[Row]) -> tuple[list[np.ndarray], float]:
    """The model's scores of each row, (T, …) float32 without padding, and the mean loss."""
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].tokens), i))
    found: list[Any] = [None] * len(rows)
    total = weight = 0.0
    while order:
        size = max(1, TOKENS // len(rows[order[0]].tokens))
        chosen, order = order[:size], order[size:]
        batch = objective.collate([rows[i] for i in chosen], torch.Generator()).to(device_of(model))
        scores, loss = objective.read(model, batch)
        total, weight = total + float(loss.total), weight + float(loss.weight)
        for index, row in zip(chosen, scores.float().cpu().numpy()):
            found[index] = row[: len(rows[index].tokens)]
    return found, total / max(weight, 1.0)
