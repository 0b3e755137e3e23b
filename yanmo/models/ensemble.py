"""Several language models that answer as one: the mean of their probabilities, token by token.

Whatever each member must remember lies side by side in one row of state, so that the engine, the scorer and the evaluation see
one model of any kind. Members may differ in everything but their vocabulary and the way they read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import Inputs, LanguageModel, Output, Slots, StateSpec
from yanmo.nn.heads import Reduce


class Ensemble(LanguageModel):
    """The members' mean. All logits of a pass are held, one set a member."""

    def __init__(self, members: Sequence[LanguageModel]):
        """RequestError where members do not fit together: their kinds, or the sizes of their vocabularies."""
        super().__init__()
        self.members = nn.ModuleList(members)
        for what, values in (("kind", [m.kind for m in members]), ("vocabulary", [str(m.vocabulary) for m in members])):
            if len(set(values)) > 1:
                raise RequestError(text("ensemble"), text("models of one {what}", what=what), ", ".join(values))
        self.kind, self.vocabulary = members[0].kind, members[0].vocabulary
        self.context = min((m.context for m in members if m.context is not None), default=None)
        self.head = None

    def state(self) -> dict[str, StateSpec]:
        return {f"{index}.{name}": spec for index, member in enumerate(self._all()) for name, spec in member.state().items()}

    def _all(self) -> list[LanguageModel]:
        return [member for member in self.members if isinstance(member, LanguageModel)]

    def forward(
        self, inputs: Inputs, slots: Slots | None = None, *, select: Tensor | None = None, reduce: Reduce | None = None
    ) -> Output:
        total: Tensor | None = None
        for index, member in enumerate(self._all()):
            own = None if slots is None else Share(slots, f"{index}.")
            logits = member(inputs, own, select=select).logits.float().log_softmax(-1)
            total = logits if total is None else torch.logaddexp(total, logits)
        assert total is not None
        logits = total - math.log(len(self.members))
        if reduce is None:
            return Output(logits)
        flat = logits.reshape(-1, logits.shape[-1])
        return Output(reduced=reduce(flat, torch.arange(len(flat), device=flat.device)))


class Share:
    """The Slots protocol for one member: its part of each row's state."""

    def __init__(self, slots: Slots, prefix: str):
        self._slots, self._prefix = slots, prefix

    @property
    def rows(self) -> Tensor:
        return self._slots.rows

    @property
    def lengths(self) -> Tensor:
        return self._slots.lengths

    @property
    def longest(self) -> int:
        return self._slots.longest

    @property
    def even(self) -> bool:
        return self._slots.even

    def read(self, name: str) -> Tensor:
        return self._slots.read(self._prefix + name)

    def write(self, name: str, value: Tensor) -> None:
        self._slots.write(self._prefix + name, value)
