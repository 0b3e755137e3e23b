"""Rotary positions: a turn keeps lengths, and what two positions say to each other depends on their distance alone."""

import torch

from yanmo.nn.rope import Rotary, rotate


def test_products_depend_on_the_distance_alone():
    rotary = Rotary(8, 10_000.0, 64)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    products = []
    for first in (0, 5, 40):
        turned = [rotate(x, *rotary(torch.tensor([[p]]))) for x, p in ((q, first + 7), (k, first))]
        products.append((turned[0] * turned[1]).sum())
        torch.testing.assert_close(turned[0].norm(), q.norm())
    torch.testing.assert_close(products[1:], [products[0]] * 2, rtol=1e-5, atol=1e-5)


def test_given_positions_and_counted_ones_agree():
    rotary = Rotary(8, 100.0, 16)
    x = torch.randn(2, 16, 3, 8, generator=torch.Generator().manual_seed(1))
    positions = torch.arange(16).expand(2, 16)
    assert torch.equal(rotate(x, *rotary(16)), rotate(x, *rotary(positions)))
    assert torch.equal(rotate(x, *rotary(16))[:, 0], x[:, 0])  # position 0 turns nothing
