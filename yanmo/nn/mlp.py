"""The feed-forward layers of a Transformer block, (B, T, D) → (B, T, D) by way of a wider layer: the parts that a recipe
names, and the modules that they make.

    swiglu, geglu         down(activation(gate x) · up x)     Shazeer 2020, arXiv:2002.05202
    relu2                 down(relu(up x)²)                   So et al. 2021, "Primer", arXiv:2109.08668
    gelu, gelu_tanh, relu down(activation(up x))
    experts               a mixture of gated ones             experts.py
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.core.config import Part
from yanmo.nn.init import linear


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


class MlpPart(Part):
    """A feed-forward layer's settings."""

    gated: ClassVar[bool] = False
    activation: ClassVar[Callable[[Tensor], Tensor]]

    def build(self, width: int, inner: int, bias: bool) -> nn.Module:
        return (GatedMlp if self.gated else Mlp)(width, inner, type(self).activation, bias)

    def inner(self, width: int) -> int:
        """The wider layer's width where none is given: as many parameters with a gate as 4 · width without one."""
        return 64 * math.ceil(width * 8 / 3 / 64) if self.gated else 4 * width

    def multiplied(self, width: int, inner: int) -> int:
        """How many numbers of the matrices one token is multiplied with."""
        return width * inner * (3 if self.gated else 2)


class Swiglu(MlpPart):
    """Gated by SiLU, as in Llama and Qwen."""

    type: str = "swiglu"
    gated: ClassVar[bool] = True
    activation: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(F.silu)


class Geglu(MlpPart):
    """Gated by GELU (tanh form), as in Gemma and T5 1.1."""

    type: str = "geglu"
    gated: ClassVar[bool] = True
    activation: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(gelu_tanh)


class Relu2(MlpPart):
    """Squared ReLU, without a gate."""

    type: str = "relu2"
    activation: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(relu_squared)


class Gelu(MlpPart):
    """GELU, as in BERT and BART."""

    type: str = "gelu"
    activation: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(F.gelu)


class GeluTanh(MlpPart):
    """GELU by its tanh form, as in GPT-2."""

    type: str = "gelu_tanh"
    activation: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(gelu_tanh)


class Relu(MlpPart):
    """ReLU, as in the first Transformer and T5."""

    type: str = "relu"
    activation: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(F.relu)


class GatedMlp(nn.Module):
    """down(activation(gate x) · up x); gate and up are one matrix product."""

    def __init__(self, width: int, inner: int, activation: Callable[..., Any], bias: bool = False):
        super().__init__()
        self.gate_up = linear(width, inner, inner, bias=bias)
        self.down = linear(inner, width, bias=bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(self.activation(gate) * up)


class Mlp(nn.Module):
    """down(activation(up x))."""

    def __init__(self, width: int, inner: int, activation: Callable[..., Any], bias: bool = False):
        super().__init__()
        self.up = linear(width, inner, bias=bias)
        self.down = linear(inner, width, bias=bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))
