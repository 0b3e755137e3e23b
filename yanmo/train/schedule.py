"""Learning-rate schedules: step → a factor between 0 and 1 of the peak rate.

    1 |   ______________            1 |   ____                 1 |   ____________________
      |  /              \\             |  /    ‾-_               |  /
    0 |_/________________\\          0 |_/__________‾-___      0 |_/_____________________
         wsd                              cosine                    constant

A factor depends on the step and on the run's length alone, so that a resumed run goes on where it was.
"""

from __future__ import annotations

import math

from pydantic import Field

from yanmo.core.config import Part


class Schedule(Part):
    """`warmup`: steps of linear rise; a number below 1 is a share of all steps."""

    warmup: float = Field(default=0.02, ge=0)

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
