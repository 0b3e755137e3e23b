"""Four bits a weight: the published values, what is lost, how much room it takes, and gradients to what is read."""

import pytest
import torch
from torch.nn import functional as F

from yanmo.nn.four import BLOCK, VALUES, FourLinear, quantised


def weights(rows=96, columns=100, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02


def test_the_values_are_quantiles_of_a_normal_distribution():
    """Appendix E: 8 values below and 9 above zero, evenly spaced in probability and divided by the largest."""
    offset = 0.9677083
    normal = torch.distributions.Normal(0.0, 1.0)
    upper = normal.icdf(torch.linspace(offset, 0.5, 9)[:-1])
    lower = -normal.icdf(torch.linspace(offset, 0.5, 8)[:-1])
    want = torch.cat([lower, torch.zeros(1), upper]).sort().values
    torch.testing.assert_close(torch.tensor(VALUES), want / want.max(), rtol=0, atol=2e-3)


def test_each_weight_is_the_nearest_value_of_its_block():
    weight = weights()
    layer = FourLinear(weight)
    flat, back = weight.reshape(-1, BLOCK), layer.weight.reshape(-1, BLOCK)
    magnitude = back.abs().amax(1, keepdim=True)  # the largest is kept as ±1
    torch.testing.assert_close(magnitude, flat.abs().amax(1, keepdim=True), rtol=0.07, atol=0)
    nearest = (flat[..., None] / magnitude[..., None] - torch.tensor(VALUES)).abs().argmin(-1)
    assert float(((back / magnitude - torch.tensor(VALUES)[nearest]).abs() < 1e-5).float().mean()) > 0.999
    error = float((weight - layer.weight).square().mean() / weight.square().mean())
    assert 0.004 < error < 0.012  # of normal weights


def test_it_beats_plain_four_bit_integers():
    weight = weights()
    flat = weight.reshape(-1, BLOCK)
    step = flat.abs().amax(1, keepdim=True) / 7
    integers = ((flat / step).round() * step).reshape(weight.shape)
    assert float((weight - FourLinear(weight).weight).square().sum()) < 0.9 * float((weight - integers).square().sum())


def test_bits_are_those_of_the_paper():
    assert FourLinear(weights(512, 512)).bits == pytest.approx(4 + 8 / 64 + 32 / (64 * 256), abs=0.001)


@pytest.mark.parametrize("shape", [(7, 9), (64, 64), (5, 300), (1, 1)])
def test_any_shape_comes_back(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    back = FourLinear(weight).weight
    assert back.shape == weight.shape
    assert float((weight - back).abs().max()) < 0.5 * float(weight.abs().max())


def test_zeros_stay_zeros_and_twice_is_once():
    assert not FourLinear(torch.zeros(3, 70)).weight.any()
    weight = weights()
    weight[0] = 0
    once = FourLinear(weight)
    assert not once.weight[0, :64].any()
    assert float((FourLinear(once.weight).weight - once.weight).abs().max()) < 0.1 * float(weight.abs().max())
    assert all(torch.equal(a, b) for a, b in zip(quantised(weight).values(), quantised(weight).values()))


def test_the_map_is_its_matrix_and_nothing_of_it_is_kept():
    layer, bias = FourLinear(weights()), torch.randn(96)
    layer.bias = bias
    x = torch.randn(2, 3, 100, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = layer(x)
    assert not kept
    torch.testing.assert_close(out, F.linear(x, layer.weight, bias))
    slope = torch.randn_like(out)
    (got,) = torch.autograd.grad(out, x, slope)
    torch.testing.assert_close(got, slope @ layer.weight)
    assert not list(layer.parameters())
