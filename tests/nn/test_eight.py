"""float8 linear maps: near the exact product, gradients included; on a CPU by torch's slow form of the same kernel."""

import pytest
import torch
from torch import nn

from yanmo.nn.eight import BACKWARD, FORWARD, eight_bits, fits, linear, scaled


def far(a, b):
    return float((a.float() - b).norm() / b.norm())


@pytest.mark.parametrize("rows", [1, 16, 37])
@pytest.mark.parametrize("bias", [False, True])
def test_product_and_gradients_are_near_the_exact_ones(bias, rows):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, rows, 64, generator=rng)
    layer = nn.Linear(64, 48, bias=bias)
    upstream = torch.randn(2, rows, 48, generator=rng)
    found = []
    for exact in (True, False):
        own = x.clone().requires_grad_()
        layer.zero_grad()
        out = layer(own) if exact else linear(own, layer.weight, layer.bias)
        (out.float() * upstream).sum().backward()
        found.append([out.detach().float(), own.grad, *(p.grad.clone() for p in layer.parameters())])
    for ours, want in zip(found[1], found[0]):
        assert ours.shape == want.shape
        assert far(ours, want) < 0.08
    assert far(found[1][0], found[0][0]) > 1e-4, "it is float8, not float32"


@pytest.mark.parametrize("dtype", [FORWARD, BACKWARD])
def test_the_largest_magnitude_is_kept_and_zeros_stay(dtype):
    x = torch.tensor([[1e-6, -3e5, 12.0]])
    small, scale = scaled(x, dtype)
    assert float(small.float().abs().max() * scale) == pytest.approx(3e5)
    zero, scale = scaled(torch.zeros(2, 2), dtype)
    assert float(scale) == 1.0
    assert not zero.float().any()
    assert torch.isfinite((torch.full((4,), 1e30) / scaled(torch.full((4,), 1e30), dtype)[1]).to(dtype).float()).all()


def test_which_layers():
    assert fits(nn.Linear(32, 48))
    assert not fits(nn.Linear(32, 50))
    assert not fits(nn.Linear(20, 48))
    assert not fits(nn.Embedding(32, 48))


def test_within_it_layers_train_in_float8_and_afterwards_as_before():
    model = nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 20))
    x = torch.randn(4, 32)
    before = model[0](x)
    with eight_bits([model]) as count:
        assert count == 1
        assert model[0](x).dtype == torch.bfloat16
        model.eval()
        assert torch.equal(model[0](x), before), "a validation is exact"
        model.train()
        with torch.no_grad():
            assert torch.equal(model[0](x), before)
    assert torch.equal(model[0](x), before)
    assert not vars(model[0]).get("forward")


def test_a_small_model_learns_in_it():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 16)), torch.randn(64, 32)
    y = torch.sin(x[:, :16] * 2)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    with eight_bits([model]):
        for _ in range(60):
            loss = (model(x).float() - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
