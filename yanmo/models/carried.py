"""State that is handed from one batch of training to the next: truncated back-propagation through time.

    carried = Carried(model.state(), rows=8)
    for batch in batches:                       # row b of a batch goes on where row b of the one before ended
        carried.reset(batch.begins)             # but for rows that begin anew
        loss(model(batch.inputs, carried)).backward()

Values go on, gradients do not: what a pass writes is kept without its history, so that a batch learns from what came
before it and back-propagation ends where the batch begins (Williams & Peng 1990; Mikolov et al. 2010). Only for models
whose state does not grow with the row: recurrent ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.models.base import StateSpec


class Carried:
    """The Slots protocol for training. `tensors` (name → (B, *shape)) is all there is: saved and put back, a run goes on."""

    def __init__(self, spec: Mapping[str, StateSpec], rows: int, device: torch.device | str = "cpu"):
        """RequestError for a model without state, or with one that grows with every token."""
        if not spec or any(item.per_token for item in spec.values()):
            raise RequestError("carry", text("a recurrent model"), text("a model without a state of fixed size"),
                               text("leave out 'carry', or train an rnn, a gru or an lstm"))  # fmt: skip
        self.spec = dict(spec)
        self.rows = torch.arange(rows, device=device)
        self.tensors = {name: torch.full((rows, *item.shape), item.fill, dtype=item.dtype, device=device)
                        for name, item in spec.items()}  # fmt: skip

    @property
    def lengths(self) -> Tensor:
        """(B,) zeros: positions are counted within the batch."""
        return torch.zeros_like(self.rows)

    longest = 0
    even = True

    def read(self, name: str) -> Tensor:
        return self.tensors[name]

    def write(self, name: str, value: Tensor) -> None:
        self.tensors[name] = value.detach().to(self.tensors[name].dtype)

    def reset(self, rows: Sequence[int] | Tensor | None = None) -> None:
        """Makes rows fresh: by number or where a (B,) bool says so; by default all."""
        for name, item in self.spec.items():
            fresh = self.tensors[name].clone()  # a pass may still hold the old one for its gradients
            fresh[slice(None) if rows is None else torch.as_tensor(rows, device=fresh.device)] = item.fill
            self.tensors[name] = fresh
