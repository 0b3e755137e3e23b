"""Rotary positions: a turn keeps lengths, and what two positions say to each other depends on their distance alone."""

import torch

from yanmo.nn.rope import Rotary, rotate


def test_products_depend_on_the_distance_alone():
    rotary = Rotary(8, 10_000.0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    products = []
    for first in (0, 5, 40):
        turned = [rotate(x, *rotary(torch.tensor([[p]]))) for x, p in ((q, first + 7), (k, first))]
        products.append((turned[0] * turned[1]).sum())
        torch.testing.assert_close(turned[0].norm(), q.norm())
    torch.testing.assert_close(products[1:], [products[0]] * 2, rtol=1e-5, atol=1e-5)


def test_one_row_of_positions_serves_all_rows():
    rotary = Rotary(8, 100.0)
    x = torch.randn(2, 16, 3, 8, generator=torch.Generator().manual_seed(1))
    counted = torch.arange(16)[None]
    assert torch.equal(rotate(x, *rotary(counted)), rotate(x, *rotary(counted.expand(2, 16), 16)))
    assert torch.equal(rotate(x, *rotary(counted))[:, 0], x[:, 0])  # position 0 turns nothing
