"""RMS normalisation: the values are torch's, the gradient is that of its formula."""

import pytest
import torch

from yanmo.nn.norm import Rms


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 7, 4, 16), (1, 1, 8)])
def test_gradients_are_those_of_the_formula(shape, offset):
    rng = torch.Generator().manual_seed(0)
    norm = Rms(eps=1e-3, offset=offset).build(shape[-1])
    with torch.no_grad():
        norm.weight += torch.randn(shape[-1], generator=rng)
    x = torch.randn(*shape, generator=rng)
    for given in (x, x.transpose(0, 1), 1e-3 * x):  # also where eps decides
        given = given.detach().requires_grad_()
        slope = torch.randn(given.shape, generator=rng)
        factor = norm.weight + 1.0 if offset else norm.weight
        want = given * torch.rsqrt(given.square().mean(-1, keepdim=True) + 1e-3) * factor
        found = norm(given)
        torch.testing.assert_close(found, want)
        torch.testing.assert_close(torch.autograd.grad(found, (given, norm.weight), slope),
                                   torch.autograd.grad(want, (given, norm.weight), slope), rtol=1e-4, atol=1e-5)  # fmt: skip
        with torch.no_grad():
            torch.testing.assert_close(norm(given), want)


def test_what_has_no_gradient_gets_none():
    norm = Rms().build(8)
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    norm(x).sum().backward()
    assert norm.weight.grad is not None
    frozen = Rms().build(8).requires_grad_(False)
    assert not frozen(x).requires_grad
    assert torch.autograd.grad(frozen(x.requires_grad_()).sum(), x)[0].shape == x.shape


def test_in_bfloat16_it_is_torchs():
    norm = Rms().build(8)
    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    norm(x).sum().backward()
    assert x.grad.dtype == norm(x).dtype == torch.bfloat16
