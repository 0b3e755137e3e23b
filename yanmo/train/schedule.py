"""Learning-rate schedules: step → a factor between 0 and 1 of the peak rate.

    1 |   ______________            1 |   ____                 1 |   ____________________
      |  /              \\             |  /    ‾-_               |  /
    0 |_/________________\\          0 |_/__________‾-___      0 |_/_____________________
         wsd                              cosine                    constant

    1 |   _                         1 |   _    _     _         1 |   .
      |  /  ‾-_                       |  / \\_ | \\_ | \\_          |  / ‾-_
    0 |_/______‾-____               0 |_/____‾|____‾|____‾       0 |_/______‾‾‾‾-----____
         linear                           cosine_restarts           inverse_sqrt

A factor depends on the step and on the run's length alone, so that a resumed run goes on where it was.
"""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from yanmo.core.config import Part
from yanmo.core.messages import text


class Schedule(Part):
    """`warmup`: steps of linear rise; a number below 1 is a share of all steps."""

    warmup: float = Field(default=0.02, ge=0, allow_inf_nan=False)

    def factor(self, step: int, steps: int) -> float:
        """The factor for the step after `step` finished ones, of `steps` in all; the first one is already above 0."""
        rise = self._length(self.warmup, steps)
        if step < rise:
            return (step + 1) / (rise + 1)
        return self.after(step, steps, rise)

    def after(self, step: int, steps: int, rise: int) -> float:
        raise NotImplementedError

    @staticmethod
    def _length(given: float, steps: int) -> int:
        return round(given * steps) if given < 1 else min(int(given), steps)


class Cosine(Schedule):
    """Half a cosine from the peak to `final` of it (Loshchilov and Hutter 2017, SGDR, equation 5)."""

    final: float = Field(default=0.05, ge=0, le=1)

    def after(self, step: int, steps: int, rise: int) -> float:
        done = (step - rise) / max(1, steps - rise)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done))


class CosineRestarts(Schedule):
    """Several cosines, each from the peak again (Loshchilov and Hutter 2017, SGDR): warm restarts.

    `restarts`: how often the rate goes back to the peak; `growth`: how many times longer each cosine is than the one before."""

    restarts: int = Field(default=3, ge=1)
    growth: float = Field(default=1.0, ge=1, allow_inf_nan=False)
    final: float = Field(default=0.0, ge=0, lt=1)

    def after(self, step: int, steps: int, rise: int) -> float:
        done = (step - rise) / max(1, steps - rise)
        lengths = [self.growth**index for index in range(self.restarts + 1)]
        begun, whole = 0.0, sum(lengths)
        for length in lengths:
            within = (done * whole - begun) / length
            if within < 1 - 1e-9:  # a step on the border begins the next cosine, whatever the rounding
                break
            begun += length
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * max(0.0, within)))


class Linear(Schedule):
    """A straight line from the peak to `final` of it."""

    final: float = Field(default=0.0, ge=0, lt=1)

    def after(self, step: int, steps: int, rise: int) -> float:
        return self.final + (1 - self.final) * (steps - step) / max(1, steps - rise)


class InverseSquareRoot(Schedule):
    """The peak, falling as 1/√step: for runs whose end is not known (Vaswani et al. 2017, section 5.3).

    `timescale`: the steps behind the warm-up after which the rate has fallen to 1/√2; a number below 1 is a share of all steps;
    None: as long as the warm-up."""

    warmup: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    timescale: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _scale(self) -> InverseSquareRoot:
        if self.timescale is None and not self.warmup:
            raise ValueError(str(text("a 'timescale', as without a 'warmup' there is nothing to take it from")))
        return self

    def after(self, step: int, steps: int, rise: int) -> float:
        scale = max(1, rise if self.timescale is None else self._length(self.timescale, steps))
        return math.sqrt(scale / (scale + step - rise))


class WarmupStableDecay(Schedule):
    """The peak until the last `decay` of the steps, then a straight line to `final` of it.

    Hu et al. 2024 (MiniCPM, section 4); the linear cooldown and its length follow Hägele et al. 2024, section 3.
    """

    decay: float = Field(default=0.5, ge=0)
    final: float = Field(default=0.0, ge=0, le=1)

    def after(self, step: int, steps: int, rise: int) -> float:
        fall = min(self._length(self.decay, steps), steps - rise)
        left = steps - step
        if left >= fall or fall == 0:
            return 1.0
        return self.final + (1 - self.final) * left / fall


class Constant(Schedule):
    """The peak to the end."""

    def after(self, step: int, steps: int, rise: int) -> float:
        return 1.0
