"""Tensors by name, of whatever file: what is there, how large and of which type is known before one is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text


class Tensors(Mapping[str, Tensor]):
    """A mapping whose values are read when asked for, one at a time, so that a model larger than the memory can be
    converted. `items()` reads each once."""

    def shape(self, name: str) -> tuple[int, ...]:
        raise NotImplementedError

    def dtype(self, name: str) -> torch.dtype:
        raise NotImplementedError

    def bytes(self, name: str) -> int:
        """What the tensor takes as it is given."""
        return elements(self.shape(name)) * self.dtype(name).itemsize


class Held(Tensors):
    """Tensors that are in memory already."""

    def __init__(self, held: Mapping[str, Tensor]):
        self.held = held

    def __getitem__(self, name: str) -> Tensor:
        return self.held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.held[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        return self.held[name].dtype


class Cast(Tensors):
    """Others' tensors with every floating one in another type."""

    def __init__(self, source: Tensors, dtype: torch.dtype):
        self.source, self.wanted = source, dtype

    def __getitem__(self, name: str) -> Tensor:
        return self.source[name].to(self.dtype(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __contains__(self, name: Any) -> bool:
        return name in self.source

    def shape(self, name: str) -> tuple[int, ...]:
        return self.source.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        found = self.source.dtype(name)
        return self.wanted if found.is_floating_point else found


def finite(tensor: Tensor, name: str, where: str, infinite: bool = False) -> Tensor:
    """The tensor; CorruptError with its name where a value is NaN or (unless `infinite` ones mean something) infinite: what
    is computed with it means nothing."""
    if tensor.is_floating_point() and tensor.numel():
        wide = tensor if tensor.dtype.itemsize > 1 else tensor.float()
        edges = torch.stack(wide.aminmax())  # NaN is both; one pass and no copy
        if bool(edges.isnan().any()) or not (infinite or bool(edges.isfinite().all())):
            bad = int((wide.isnan() if infinite else ~wide.isfinite()).sum())
            found = text("{count} values of {name} are NaN or infinite", count=bad, name=name)
            raise CorruptError(where, text("finite weights"), found)
    return tensor


def elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
