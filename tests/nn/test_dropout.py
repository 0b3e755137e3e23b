"""Dropout decided by sixteen bits a number, beside torch's."""

import pytest
import torch

from yanmo.nn.dropout import dropout


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_many_are_dropped_as_are_asked_and_the_mean_stays(share, dtype):
    torch.manual_seed(0)
    count = 1 << 20
    out = dropout(torch.ones(4, count // 4, dtype=dtype), share, training=True)
    assert out.dtype == dtype
    kept = out != 0
    spread = (share * (1 - share) / count) ** 0.5
    assert abs(1 - kept.float().mean().item() - share) < 5 * spread
    assert out[kept].unique().tolist() == pytest.approx([1 / (1 - share)], rel=1e-2 if dtype == torch.bfloat16 else 1e-4)
    places = kept.view(-1, 4).float()  # four decisions of one draw are four
    assert torch.corrcoef(places.T).sub(torch.eye(4)).abs().max() < 0.02
    assert abs((kept[:, 1:] == kept[:, :-1]).float().mean().item() - (share**2 + (1 - share) ** 2)) < 0.01


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (0, 4)])
def test_every_shape_and_the_gradient_goes_where_the_number_went(shape):
    torch.manual_seed(1)
    x = torch.randn(shape).requires_grad_()
    out = dropout(x, 0.4, training=True)
    assert out.shape == x.shape
    out.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), out.detach())


def test_it_follows_from_the_seed_and_is_nothing_outside_of_training():
    x = torch.randn(3, 50)
    made = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        made.append(dropout(x, 0.5, training=True))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x


def test_ends_of_the_scale():
    x = torch.ones(1000)
    assert torch.isfinite(dropout(x, 0.999999, training=True)).all()
    assert dropout(x, 1e-9, training=True).count_nonzero() >= 990
    strided = torch.randn(8, 6).T
    assert dropout(strided, 0.3, training=True).shape == (6, 8)
