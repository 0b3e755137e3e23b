"""The keys of a recipe's `train:`. What is left open is decided by `plan`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from yanmo.core.config import Part, PartOf, Settings
from yanmo.core.messages import text


class Train(Settings):
    """How long, how much at a time, and how. At most one of steps, minutes, tokens and epochs."""

    steps: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)  # wall clock of the whole stage; measured once, then fixed in the plan
    tokens: int | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    batch_tokens: int | None = Field(default=None, gt=0)  # of one optimizer step
    micro_tokens: int | None = Field(default=None, gt=0)  # of one forward and backward pass
    optim: Annotated[Part | None, PartOf("optimizer")] = None
    schedule: Annotated[Part | None, PartOf("schedule")] = None
    clip: float = Field(default=1.0, gt=0)  # the largest norm of the whole gradient
    validate_every: int | None = Field(default=None, gt=0)  # steps
    patience: int | None = Field(default=None, gt=0)  # validations without a better one before training stops
    checkpoint_every: int | None = Field(default=None, gt=0)  # steps
    keep: int = Field(default=2, gt=0)  # checkpoints, beside the best one
    precision: Literal["fp32", "bf16"] | None = None
    compile: bool | None = None
    threads: int | None = Field(default=None, gt=0)
    device: str | None = None

    execution: ClassVar[frozenset[str]] = frozenset({"keep", "device", "checkpoint_every"})

    @model_validator(mode="after")
    def one_length(self) -> Train:
        given = [name for name in ("steps", "minutes", "tokens", "epochs") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(text("one of steps, minutes, tokens and epochs"))
        return self

    @property
    def timed(self) -> bool | None:
        """Whether a clock decides the length: True with minutes, False with steps, tokens or epochs, None: left open."""
        if self.minutes is not None:
            return True
        return False if self.steps or self.tokens or self.epochs else None
