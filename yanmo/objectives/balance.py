"""Rare labels and easy examples: how much each counts in a classifier's loss.

    inverse     N / (L · n)              as scikit-learn's class_weight='balanced'
    effective   (1 − β) / (1 − βⁿ)       Cui et al. 2019 (arXiv:1901.05555), β = 0.999: the hundredth example of a label tells
                                         less than its first

for L labels with n of N rows, both scaled so that the mean over the training rows is 1: the loss keeps its size. And
(1 − p)^γ (Lin et al. 2017, arXiv:1708.02002), p being the probability of what is right: what is known already counts less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Balance = Literal["inverse", "effective"]
BETA = 0.999


def weights(counts: Sequence[int], balance: Balance, beta: float = BETA) -> np.ndarray:
    """(L,) float32: what a row of each label counts; 0 for a label without rows."""
    count = np.asarray(counts, np.float64)
    occurs = count > 0
    value = np.zeros(len(count))
    value[occurs] = 1 / count[occurs] if balance == "inverse" else (1 - beta) / (1 - beta ** count[occurs])
    return (value * count.sum() / (value * count).sum()).astype(np.float32)


def focused(losses: Tensor, right: Tensor, gamma: float) -> Tensor:
    """`losses` times (1 − p)^γ, p = `right`; differentiable in both, and without a slope of infinity at p = 1."""
    return losses * (1 - right).clamp_min(torch.finfo(right.dtype).tiny).pow(gamma)
