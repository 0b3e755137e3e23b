"""Parameters of which a process holds a part: how the whole is put together and taken apart again.

    fully sharded (FSDP2)    a DTensor: the first dimension in slices, one a rank
    tensor parallel          a `Divided` in the parameter's `divided`: whole heads and channels, cut out of each of the maps
                             that stand side by side in one matrix (`weight.pieces`)

For a parameter that is whole, each function gives its argument back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Divided:
    """Each of `pieces` (sizes along dimension `dim`) is cut into as many equal parts as `group` has ranks."""

    group: Any
    dim: int
    pieces: tuple[int, ...]

    def whole(self, part: Tensor) -> Tensor:
        size = dist.get_world_size(self.group)
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(size)]
        dist.all_gather(parts, part.contiguous(), group=self.group)
        cut = [one.split([piece // size for piece in self.pieces], self.dim) for one in parts]
        return torch.cat([torch.cat(pieces, self.dim) for pieces in zip(*cut, strict=True)], self.dim)

    def part(self, whole: Tensor) -> Tensor:
        rank, size = dist.get_rank(self.group), dist.get_world_size(self.group)
        return torch.cat([piece.chunk(size, self.dim)[rank] for piece in whole.split(self.pieces, self.dim)], self.dim)


def in_slices(value: Tensor) -> bool:
    """Whether it is a DTensor; known without importing what makes them, which takes as long as half of torch."""
    return hasattr(value, "placements")


def local(value: Any) -> Tensor:
    """What this process holds of it, as a plain tensor that shares its memory."""
    return value.to_local() if in_slices(value) else value


def divided(value: Tensor, parameter: Tensor) -> bool:
    """Whether this process holds a part of `value`, which is `parameter` or goes with it (a moment of the optimizer's)."""
    return in_slices(value) or (hasattr(parameter, "divided") and value.shape == parameter.shape)


def whole(value: Any, parameter: Tensor) -> Tensor:
    """The whole of it; all processes of the group must ask for it together."""
    if in_slices(value):
        return value.full_tensor()
    return parameter.divided.whole(value) if divided(value, parameter) else value  # type: ignore[attr-defined]


def joined(held: Tensor, parameter: Any) -> Tensor:
    """The whole of which each process holds a part like its part of the parameter; all must ask for it together."""
    if in_slices(parameter):
        from torch.distributed.tensor import DTensor

        made: Any = DTensor.from_local(held, parameter.device_mesh, parameter.placements, shape=parameter.shape,
                                       stride=parameter.stride())  # fmt: skip
        return made.full_tensor()
    return parameter.divided.whole(held) if hasattr(parameter, "divided") else held


def home(parameter: Tensor) -> Tensor:
    """Where an update of the whole goes: the parameter itself, or zeros of its whole shape, of which `part` is then added."""
    if not divided(parameter, parameter):
        return parameter
    return torch.zeros(shape_of(parameter), dtype=parameter.dtype, device=parameter.device)


def shape_of(parameter: Tensor) -> torch.Size:
    """The whole parameter's."""
    if not hasattr(parameter, "divided"):
        return parameter.shape
    made: Divided = parameter.divided
    sizes = list(parameter.shape)
    sizes[made.dim] = sum(made.pieces)
    return torch.Size(sizes)


def part(full: Tensor, parameter: Any) -> Tensor:
    """What this process holds of a whole, as a plain tensor."""
    if in_slices(parameter):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None).to_local()
    return parameter.divided.part(full) if hasattr(parameter, "divided") else full
