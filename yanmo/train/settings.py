"""The keys of a recipe's `train:`. What is left open is decided by `plan/decisions.py`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from yanmo.core.config import Part, PartOf, Settings
from yanmo.core.messages import text


class Spikes(Settings):
    """Which steps are passed over: those whose loss or gradient norm is more than `deviations` robust standard deviations above
    the median of the last `window` steps that counted. After `in_a_row` of them the run stops: that is no spike."""

    window: int = Field(default=64, ge=8)
    deviations: float = Field(default=8.0, gt=0)
    in_a_row: int = Field(default=8, gt=0)


class Train(Settings):
    """How long, how much at a time, and how. At most one of steps, minutes, joules, tokens and epochs."""

    steps: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)  # wall clock of the whole stage; measured once, then fixed in the plan
    joules: float | None = Field(default=None, gt=0)  # energy of the whole stage; measured once, then fixed in the plan
    tokens: int | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    batch_tokens: int | None = Field(default=None, gt=0)  # of one optimizer step
    micro_tokens: int | None = Field(default=None, gt=0)  # of one forward and backward pass
    optim: Annotated[Part | None, PartOf("optimizer")] = None
    schedule: Annotated[Part | None, PartOf("schedule")] = None
    average: Annotated[Part | None, PartOf("average")] = None  # of the weights: it is validated and kept instead of the last
    clip: float = Field(default=1.0, gt=0)  # the largest norm of the whole gradient
    validate_every: int | None = Field(default=None, gt=0)  # steps
    patience: int | None = Field(default=None, gt=0)  # validations without a better one before training stops
    checkpoint_every: int | None = Field(default=None, gt=0)  # steps
    keep: int = Field(default=2, gt=0)  # checkpoints, beside the best one
    precision: Literal["fp32", "bf16", "fp16", "fp8"] | None = None
    recompute: bool = False  # a layer's values again in the backward pass instead of keeping them: less memory, more time
    prefetch: int | None = Field(default=None, ge=0, le=64)  # steps whose rows are made ahead; None: 2 on a GPU, else 0
    spikes: Spikes | None = None  # None: no step is passed over
    compile: bool | None = None
    threads: int | None = Field(default=None, gt=0)
    device: str | None = None
    parallel: Annotated[Part | None, PartOf("parallel")] = None  # how several ranks divide the work; None: ddp
    records: Annotated[list[Any] | Any, PartOf("record")] = None  # where figures go beside metrics.jsonl; None: TensorBoard
    country: str | None = None  # where the machine stands (ISO 3166, three letters), for carbon; or YANMO_COUNTRY

    execution: ClassVar[frozenset[str]] = frozenset(
        {"keep", "prefetch", "device", "checkpoint_every", "parallel", "records", "country"}
    )

    @model_validator(mode="after")
    def one_length(self) -> Train:
        given = [name for name in ("steps", "minutes", "joules", "tokens", "epochs") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(text("one of steps, minutes, joules, tokens and epochs"))
        return self

    @property
    def timed(self) -> bool | None:
        """Whether a clock or a meter decides the length: True with minutes or joules, False with steps, tokens or epochs, None:
        left open."""
        if self.minutes is not None or self.joules is not None:
            return True
        return False if self.steps or self.tokens or self.epochs else None
