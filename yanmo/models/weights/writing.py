"""Writes tensors as safetensors, one at a time, so that a model larger than the memory passes through; the same bytes as
`safetensors` itself writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from yanmo.core.errors import RequestError
from yanmo.core.files import write_json
from yanmo.core.messages import text
from yanmo.models.weights.folder import INDEX, WEIGHTS
from yanmo.models.weights.header import DTYPES
from yanmo.models.weights.tensors import Held, Tensors

NAMES = {dtype: name for name, dtype in DTYPES.items()}
ORDER = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
METADATA = {"format": "pt"}


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], max_shard_bytes: int | None = None) -> None:
    """`model.safetensors`, or, where the tensors take more than `max_shard_bytes`, numbered shards and their index. A shard
    holds at least one tensor, whatever its size."""
    source = tensors if isinstance(tensors, Tensors) else Held(tensors)
    if max_shard_bytes is not None and max_shard_bytes < 1:
        raise RequestError("max_shard_bytes", text("a number of at least {least}", least=1), str(max_shard_bytes))
    shards: list[list[str]] = [[]]
    held = 0
    for name in source:
        size = source.bytes(name)
        if max_shard_bytes is not None and shards[-1] and held + size > max_shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    if len(shards) == 1:
        write_file(folder / WEIGHTS, source, shards[0])
        return
    owner: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_file(folder / file, source, names)
        owner |= dict.fromkeys(names, file)
    total = sum(source.bytes(name) for name in source)
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(owner.items()))})


def write_file(path: Path, source: Tensors, names: list[str]) -> None:
    """One safetensors file of these tensors."""
    names = sorted(names, key=lambda name: (ORDER[source.dtype(name)], name))
    fields: dict[str, object] = {"__metadata__": METADATA}
    at = 0
    for name in names:
        end = at + source.bytes(name)
        fields[name] = {"dtype": NAMES[source.dtype(name)], "shape": list(source.shape(name)), "data_offsets": [at, end]}
        at = end
    header = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in names:
            _write(file, source[name], source.bytes(name))


def _write(file: BinaryIO, tensor: Tensor, size: int) -> None:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    assert data.nbytes == size, f"{data.nbytes} bytes where {size} were announced"
    file.write(data.data)
