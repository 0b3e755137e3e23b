"""Adafactor, by torch's own implementation."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.train.optimizers.base import Live, OneRate


class Adafactor(OneRate):
    """Shazeer and Stern 2018: Adam whose second moment is kept as one row and one column a matrix, for memory.

    A step is relative to the size of what it moves: lr · max(`smallest`, root mean square of the parameter), and lr is at most
    1/√step. `beta2_decay`: the second moment forgets by 1 - step^beta2_decay. `clip`: the largest root mean square of an update
    before it is scaled. `lr` None: 0.05. Not for models in slices (FSDP): its factors are means over whole rows and columns."""

    beta2_decay: float = Field(default=-0.8, le=0, ge=-1)
    clip: float = Field(default=1.0, ge=1, allow_inf_nan=False)
    smallest: float = Field(default=1e-3, ge=0, allow_inf_nan=False)

    base: ClassVar[float] = 0.05

    def filled(self, width: int, size: float | None = None) -> Adafactor:
        lr = self.lr or self.base  # whatever the width: a step is relative
        return super().filled(width, size).model_copy(update={"lr": lr})

    def live(self, groups: list[dict[str, Any]], model: nn.Module) -> Live:
        if any(hasattr(p, "placements") for p in model.parameters()):
            raise RequestError("train.optim", text("an optimizer other than '{name}' for a model in slices", name=self.type),
                               self.type, text("use muon, adamw or lion, or 'parallel: {{type: ddp}}'"))  # fmt: skip
        return LiveAdafactor(groups, beta2_decay=self.beta2_decay, eps=(None, self.smallest), d=self.clip, foreach=True)


class LiveAdafactor(Live, torch.optim.Adafactor):
    pass
