"""A frozen matrix with small ones beside it: values, gradients, lengths, and what is kept for the backward pass."""

import pytest
import torch
from torch.nn import functional as F

from yanmo.nn.adapted import AdaptedLinear
from yanmo.nn.dropout import dropout
from yanmo.nn.four import FourLinear
from yanmo.nn.init import linear

INPUTS, SIZES = 12, (6, 4, 8)
SPANS = {"q": (0, 6), "v": (10, 18)}


def made(lengths=False, dropout=0.0, bias=True, base="fp32", scale=0.7):
    rng = torch.Generator().manual_seed(0)
    layer = linear(INPUTS, *SIZES, bias=bias).requires_grad_(False)
    for parameter in layer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng))
    frozen = FourLinear(layer.weight, layer.bias, SIZES) if base == "nf4" else layer
    adapted = AdaptedLinear(frozen, SPANS, 3, scale, dropout, lengths)
    adapted.initialise(rng)
    return adapted, torch.randn(2, 5, INPUTS, generator=rng)


def trained(adapted):
    return {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}


def stir(adapted):
    """As if it had been trained."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in trained(adapted).items():
            parameter.add_(torch.randn(parameter.shape, generator=rng).mul(0.3).abs() if "magnitude" in name
                           else torch.randn(parameter.shape, generator=rng).mul(0.3))  # fmt: skip


def whole(adapted):
    """The adapted matrix by the papers' equations, for autograd."""
    weight = adapted.base.weight.detach()
    rows = []
    for piece, (start, end) in {"q": (0, 6), "k": (6, 10), "v": (10, 18)}.items():
        part = weight[start:end]
        if piece in SPANS:
            part = part + adapted.scale * adapted.up[piece] @ adapted.down[piece]
            if adapted.magnitude:
                part = adapted.magnitude[piece][:, None] * part / part.norm(dim=1, keepdim=True).detach()
        rows.append(part)
    return torch.cat(rows)


@pytest.mark.parametrize("base", ["fp32", "nf4"])
@pytest.mark.parametrize("lengths", [False, True])
def test_it_begins_as_the_layer_it_stands_beside(lengths, base):
    adapted, x = made(lengths, base=base)
    torch.testing.assert_close(adapted(x), F.linear(x, adapted.base.weight, adapted.base.bias))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("base", ["fp32", "nf4"])
@pytest.mark.parametrize("lengths", [False, True])
def test_values_and_gradients_are_those_of_the_papers(lengths, base, bias):
    adapted, x = made(lengths, base=base, bias=bias)
    stir(adapted)
    x.requires_grad_()
    weigh = torch.randn(2, 5, sum(SIZES), generator=torch.Generator().manual_seed(2))
    parameters = [x, *trained(adapted).values()]
    assert len(parameters) == (7 if lengths else 5)
    got, want = adapted(x), F.linear(x, whole(adapted), adapted.base.bias)
    torch.testing.assert_close(got, want)
    for mine, plain in zip(torch.autograd.grad((got * weigh).sum(), parameters), torch.autograd.grad((want * weigh).sum(), parameters)):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(F.linear(x, adapted.merged(), adapted.base.bias), got)


def test_dropout_is_the_adapters_alone():
    adapted, x = made(dropout=0.5)
    stir(adapted)
    plain, weight = F.linear(x, adapted.base.weight, adapted.base.bias), whole(adapted).detach()
    torch.manual_seed(0)
    x.requires_grad_()
    out = adapted(x)
    out.sum().backward()
    torch.manual_seed(0)
    z = dropout(x.detach(), 0.5, training=True)
    torch.testing.assert_close(out.detach(), plain + F.linear(z, weight - adapted.base.weight))
    assert bool((x.grad != 0).all())
    torch.testing.assert_close(out[..., 6:10].detach(), plain[..., 6:10])  # no pair for k
    torch.testing.assert_close(adapted.eval()(x), F.linear(x, weight, adapted.base.bias))


def test_only_the_input_and_what_came_of_it_is_kept():
    """As much as an ordinary layer that is trained keeps, whatever its matrix."""
    adapted, x = made()
    stir(adapted)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        adapted(x.requires_grad_())
    own = {id(p) for p in adapted.parameters()}
    assert sum(t.numel() for t in kept if id(t) not in own and t.data_ptr() != x.data_ptr()) <= 10 * 6 + 6 * INPUTS + 18 * 3


def test_in_autocast_products_are_bfloat16_and_gradients_float32():
    adapted, x = made()
    stir(adapted)
    x.requires_grad_()
    want = adapted(x)
    want.sum().backward()
    full = {name: parameter.grad.clone() for name, parameter in trained(adapted).items()}
    adapted.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        got = adapted(x)
    assert got.dtype == torch.bfloat16
    got.float().sum().backward()
    torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.1)
    for name, parameter in trained(adapted).items():
        assert parameter.grad.dtype == torch.float32
        torch.testing.assert_close(parameter.grad, full[name], rtol=0.05, atol=0.2)
