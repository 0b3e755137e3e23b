"""A mixture of experts is the weighed sum of those chosen, however its tokens are gathered."""

import pytest
import torch

from yanmo.nn.experts import ExpertsPart


@pytest.mark.parametrize("tokens", [1, 3, 40])
@pytest.mark.parametrize(("experts", "active", "normalise"), [(4, 1, False), (4, 2, True), (5, 5, True), (16, 2, True)])
def test_each_token_gets_its_own_experts(tokens, experts, active, normalise):
    rng = torch.Generator().manual_seed(0)
    mixture = ExpertsPart(experts=experts, active=active, normalise=normalise).build(8, 12, bias=False)
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    x = torch.randn(1, tokens, 8, generator=rng)
    want = torch.zeros_like(x)
    for at in range(tokens):
        odds, chosen = mixture.router(x[0, at]).softmax(-1).topk(active)
        odds = odds / odds.sum() if normalise else odds
        for share, number in zip(odds, chosen):
            want[0, at] += share * mixture.experts[number](x[0, at])
    torch.testing.assert_close(mixture.eval()(x), want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixture.train()(x), want, rtol=1e-4, atol=1e-5)


def test_an_expert_without_tokens_learns_nothing_but_has_a_gradient():
    mixture = ExpertsPart(experts=6, active=1).build(8, 12, bias=False).train()
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    mixture(torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(2))).sum().backward()
    used = [bool(expert.down.weight.grad.any()) for expert in mixture.experts]
    assert sum(used) == 1
