"""Muon's orthogonal updates."""

import pytest
import torch
from torch import nn

from yanmo.core.registry import create
from yanmo.train.optimizers.muon import orthogonalise


@pytest.mark.parametrize("shape", [(32, 32), (96, 32), (32, 96)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices, 8))
    assert values.max() < 1.15
    assert values.median() > 0.9
    kept = torch.linalg.svd(matrices[0], full_matrices=False)
    ideal = kept.U @ kept.Vh
    cosine = (orthogonalise(matrices, 8)[0] * ideal).sum() / ideal.square().sum()
    assert cosine > 0.97  # the same directions, not just the same sizes


def test_maps_side_by_side_in_one_matrix_are_updated_each_for_itself():
    """Queries, keys and values in one parameter move exactly as three parameters would."""
    rng = torch.Generator().manual_seed(0)
    parts = [torch.randn(rows, 16, generator=rng) for rows in (16, 8, 8)]
    slopes = [torch.randn(rows, 16, generator=rng) for rows in (16, 8, 8)]

    class Holder(nn.Module):
        def __init__(self, values):
            super().__init__()
            self.values = nn.ParameterList(nn.Parameter(value.clone()) for value in values)

    apart, together = Holder(parts), Holder([torch.cat(parts)])
    together.values[0].pieces = (16, 8, 8)
    for holder, gradients in ((apart, slopes), (together, [torch.cat(slopes)])):
        optimizer = create("optimizer", {"type": "muon", "lr": 0.1, "weight_decay": 0}).make(holder)
        for _ in range(3):
            for value, gradient in zip(holder.values, gradients):
                value.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(torch.cat(list(apart.values)), together.values[0], rtol=1e-5, atol=1e-6)
    moved = float(torch.linalg.matrix_norm(together.values[0].detach()[:16] - parts[0], 2))
    assert moved == pytest.approx(3 * 0.1, rel=0.35)  # a step moves the matrix by its learning rate, measured by its norm
