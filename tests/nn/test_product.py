"""Products by another kernel are the products; gradients and other types go torch's way."""

import pytest
import torch
from torch.nn import functional as F

from yanmo.nn.product import ColumnLinear, product

I, O = 24, 40  # noqa: E741


def material(rows, layout, bias):
    rng = torch.Generator().manual_seed(0)
    whole = torch.randn(2 * O, I, generator=rng)
    columns = whole.t().contiguous().t()
    weight = {"rows": whole[:O], "columns": whole[:O].t().contiguous().t(), "half of columns": columns[O:]}[layout]
    return torch.randn(*rows, I, generator=rng), weight, torch.randn(O, generator=rng) if bias else None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", ["rows", "columns", "half of columns"])
@pytest.mark.parametrize("rows", [(1,), (1, 1), (2,), (3, 5), (70,), (0,)])
def test_the_numbers_are_the_same(rows, layout, bias):
    x, weight, added = material(rows, layout, bias)
    with torch.inference_mode():
        torch.testing.assert_close(product(x, weight, added), F.linear(x, weight, added), rtol=1e-5, atol=1e-5)


def test_gradients_flow_through_it():
    x, weight, bias = material((3, 5), "columns", True)
    layer = ColumnLinear(I, O)
    layer.weight.data, layer.bias.data = weight, bias
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum((0, 1)).expand(O, I))


def test_autocast_has_its_own_type():
    x, weight, bias = material((3,), "columns", True)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert product(x, weight, bias).dtype == torch.bfloat16
    with torch.inference_mode():
        assert product(x.double(), weight.double(), None).dtype == torch.float64
