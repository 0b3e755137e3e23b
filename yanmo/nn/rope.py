"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864): position p turns the pair (x_i, x_{i+D/2}) of each
query and key by the angle p · θ^(−2i/D), so that their product depends on the distance alone. The pairs are the two
halves of a head, as in the published Llama and Qwen weights.

Four ways to read further than a model was trained to (`Scaling`), all by changing the frequencies:

    linear     all divided by `factor` (Chen et al. 2023, arXiv:2306.15595)
    dynamic    a larger θ once a text is longer than the trained context, so that slow pairs stretch and fast ones stay
               ("NTK-aware", as in transformers)
    yarn       fast pairs stay, slow ones are divided, a ramp between; scores a little sharper (Peng et al. 2023,
               arXiv:2309.00071)
    llama3     the same idea with bounds in wavelengths (Llama 3.1)
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from yanmo.core.config import Settings
from yanmo.core.messages import text

OWN = {  # the settings that a kind has beside `factor`
    "linear": (),
    "dynamic": ("trained",),
    "yarn": ("trained", "beta_fast", "beta_slow", "attention_factor", "truncate"),
    "llama3": ("trained", "low_freq_factor", "high_freq_factor"),
}


class Scaling(Settings):
    """How rotary positions are stretched. `trained` is the context that the model was trained with; None: its own."""

    type: Literal["linear", "dynamic", "yarn", "llama3"]
    factor: float = Field(gt=0)
    trained: int | None = Field(default=None, ge=1)
    beta_fast: float = Field(default=32.0, gt=0, le=1e6)  # yarn: turns within that context above which a pair stays as it is
    beta_slow: float = Field(default=1.0, gt=0, le=1e6)  # and below which it is divided by the factor
    attention_factor: float | None = None  # yarn: on the tables; None: 0.1 ln factor + 1
    truncate: bool = True  # yarn: the ramp's ends at whole pairs
    low_freq_factor: float = 1.0  # llama3: wavelengths above trained / this are divided
    high_freq_factor: float = 4.0  # and below trained / this kept

    @model_validator(mode="after")
    def _needed(self) -> Scaling:
        for name, field in type(self).model_fields.items():
            if name not in ("type", "factor", *OWN[self.type]) and getattr(self, name) != field.default:
                kinds = " / ".join(kind for kind, own in OWN.items() if name in own)
                raise ValueError(str(text("'type: {name}', without which '{option}' has no effect", name=kinds, option=name)))
        return self


class Rotary(nn.Module):
    """The cosines and sines of positions; tables that grow with the longest text seen, so that a step only looks them up."""

    def __init__(self, size: int, theta: float, scaling: Scaling | None = None, context: int | None = None):
        super().__init__()
        self.size, self.theta, self.scaling = size, theta, scaling
        self.trained = (scaling.trained if scaling else None) or context or 0
        self._tables: tuple[Tensor, Tensor] | None = None
        self._reach = (0, 0)  # positions that the tables hold; the length that their frequencies are for

    def forward(self, positions: Tensor, longest: int | None = None, furthest: int = 0) -> tuple[Tensor, Tensor]:
        """For positions (B, T) the tables (B, T, 1, D/2). `longest`: the length of the text, above every position that
        matters (beyond it the last entry stands), or of what it is seen as where positions go further, up to `furthest`."""
        longest = int(positions.max()) + 1 if longest is None else longest
        cos, sin = self._up_to(max(longest, furthest), longest, positions.device)
        chosen = positions.clamp(max=len(cos) - 1)
        return cos[chosen].unsqueeze(2), sin[chosen].unsqueeze(2)

    def frequencies(self, longest: int) -> tuple[Tensor, float]:
        """(D/2,) radians a position, and the factor on the tables, for texts of at most `longest` tokens."""
        theta, scaling = self.theta, self.scaling
        exponents = torch.arange(0, self.size, 2, dtype=torch.float32) / self.size
        if scaling is None:
            return theta**-exponents, 1.0
        if scaling.type == "linear":
            return theta**-exponents / scaling.factor, 1.0
        if scaling.type == "dynamic":
            stretched = scaling.factor * max(longest, self.trained) / self.trained - (scaling.factor - 1)
            return (theta * stretched ** (self.size / (self.size - 2))) ** -exponents, 1.0
        plain = theta**-exponents
        if scaling.type == "llama3":
            wavelength = 2 * math.pi / plain
            low, high = self.trained / scaling.low_freq_factor, self.trained / scaling.high_freq_factor
            smooth = (self.trained / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
            between = (1 - smooth) * plain / scaling.factor + smooth * plain
            return torch.where(wavelength > low, plain / scaling.factor, torch.where(wavelength < high, plain, between)), 1.0

        def pair_of(turns: float) -> float:  # the pair that turns so often within the trained context
            return self.size * math.log(self.trained / (turns * 2 * math.pi)) / (2 * math.log(theta))

        low, high = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
        if scaling.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, self.size - 1)
        ramp = ((torch.arange(self.size // 2, dtype=torch.float32) - low) / max(high - low, 1e-3)).clamp(0, 1)
        sharper = scaling.attention_factor
        if sharper is None:
            sharper = 0.1 * math.log(scaling.factor) + 1 if scaling.factor > 1 else 1.0
        return plain / scaling.factor * ramp + plain * (1 - ramp), sharper

    def _up_to(self, length: int, longest: int, device: torch.device) -> tuple[Tensor, Tensor]:
        stretched = max(longest, self.trained) if self.scaling is not None and self.scaling.type == "dynamic" else 0
        if self._tables is None or length > self._reach[0] or stretched != self._reach[1] or self._tables[0].device != device:
            self._grow(max(length, self._reach[0]), stretched, device)
        assert self._tables is not None
        return self._tables

    def _grow(self, length: int, stretched: int, device: torch.device) -> None:
        held = max(64, 1 << (length - 1).bit_length())
        frequencies, factor = self.frequencies(stretched)
        with torch.inference_mode(False), torch.no_grad():
            angles = torch.arange(held, dtype=torch.float32)[:, None] * frequencies
            self._tables = ((angles.cos() * factor).to(device), (angles.sin() * factor).to(device))
        self._reach = (held, stretched)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns x (B, T, H, D) by its positions' angles; the tables are (B or 1, T, 1, D/2), or of fewer pairs: then the rest
    of a head stays."""
    turned = 2 * cos.shape[-1]
    if turned < x.shape[-1]:
        return torch.cat([rotate(x[..., :turned], cos, sin), x[..., turned:]], dim=-1)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
