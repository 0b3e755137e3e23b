"""The model in a GGUF file, as if it were a published folder: config.json's keys, tensors by their published names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.gguf.architectures import HEADED, KEYS, QUERIES, SHIFTED, Architecture, Change
from yanmo.models.gguf.reader import Gguf
from yanmo.models.gguf.rotary import TENSOR
from yanmo.models.gguf.settings import architecture_of, published
from yanmo.models.weights.tensors import Tensors, finite

BLOCK = re.compile(r"blk\.(\d{1,9})\.")
DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16}  # what is read as it is; everything else, as float32


class GgufModel:
    """`config`: config.json's mapping; `tensors`: by published name, read and decoded when asked for; `vocabulary`: the
    metadata of the tokenizer. Errors are DataError and CorruptError, all before a tensor is read."""

    def __init__(self, path: Path):
        self.path, self.file = path, Gguf(path)
        metadata = self.file.metadata
        parts = metadata.get("split.count", 1)
        if parts not in (0, 1):
            raise DataError(str(path), text("a whole model"), text("one of {count} parts", count=str(parts)[:40]),
                            text("join them with llama.cpp's llama-gguf-split --merge"))  # fmt: skip
        self.kind = architecture_of(metadata, str(path))
        shapes = {name: stored.shape for name, stored in self.file.tensors.items()}
        factors = self.file.numbers(TENSOR).astype("float32") if TENSOR in shapes else None
        self.config = published(metadata, shapes, str(path), factors)
        self.tensors = Published(self.file, self.kind, self.config)
        self.vocabulary = {key: value for key, value in metadata.items() if key.startswith("tokenizer.")}


def opened(path: Path) -> GgufModel:
    """The file, read once for all who ask in a row for its config, its tokenizer and its tensors."""
    found = path.stat() if path.is_file() else None
    return _opened(path, found and (found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=1)
def _opened(path: Path, version: tuple[int, int] | None) -> GgufModel:
    return GgufModel(path)


class Place(NamedTuple):
    """Where a published tensor is: a tensor of the file, or one of `experts` parts of it."""

    name: str
    change: Change | None
    expert: int = 0
    experts: int = 1


class Published(Tensors):
    def __init__(self, file: Gguf, kind: Architecture, config: dict[str, Any]):
        self.file, self.config = file, config
        self.places: dict[str, Place] = {}
        unknown = []
        for name, stored in file.tensors.items():
            if name == TENSOR:
                continue
            stem, _, suffix = BLOCK.sub("blk.{layer}.", name, count=1).rpartition(".")
            theirs = kind.names.get(stem)
            if theirs is None or suffix not in ("weight", "bias"):
                unknown.append(name)
                continue
            layer = int(found[1]) if (found := BLOCK.match(name)) else 0
            change = kind.change(stem, suffix)
            experts = stored.shape[0] if "{expert}" in theirs else 1
            self._check(name, stored.shape, change, experts if "{expert}" in theirs else None)
            for expert in range(experts):
                self.places[f"{theirs.format(layer=layer, expert=expert)}.{suffix}"] = Place(name, change, expert, experts)
        if unknown:
            raise DataError(str(file.path), text("tensors of {architecture}", architecture=kind.name),
                            ", ".join(unknown[:5]) + (f" … ({len(unknown)})" if len(unknown) > 5 else ""))  # fmt: skip

    def _check(self, name: str, shape: tuple[int, ...], change: Change | None, experts: int | None) -> None:
        """What would fail later without a word of which tensor."""
        heads, rows = {id(QUERIES): ("num_attention_heads", 2), id(KEYS): ("num_key_value_heads", 2),
                       id(HEADED): ("num_attention_heads", 3)}.get(id(change), (None, 1))  # fmt: skip
        if heads is not None and shape[0] % (rows * self.config[heads]):
            raise DataError(f"{self.file.path}: {name}", text("rows for {count} heads", count=self.config[heads]), str(shape[0]))
        given = self.config.get("num_local_experts", self.config.get("num_experts"))
        if experts is not None and (experts != given or len(shape) != 3):
            raise DataError(f"{self.file.path}: {name}", text("{count} experts", count=given), str(shape))

    def __getitem__(self, name: str) -> Tensor:
        place = self.places[name]
        if self.file.tensors[place.name].encoding.name == "BF16":
            tensor = torch.from_numpy(self.file.bits(place.name, place.expert, place.experts)).view(torch.bfloat16)
        else:
            tensor = torch.from_numpy(self.file.numbers(place.name, place.expert, place.experts))
        finite(tensor, place.name, str(self.file.path))
        tensor = tensor.to(self.dtype(name))
        return tensor if place.change is None else place.change.back(tensor, self.config).contiguous()

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: Any) -> bool:
        return name in self.places

    def shape(self, name: str) -> tuple[int, ...]:
        place = self.places[name]
        shape = self.file.tensors[place.name].shape
        if place.experts > 1:
            shape = shape[1:]
        return shape[::-1] if place.change is not None and place.change.turned else shape

    def dtype(self, name: str) -> torch.dtype:
        place = self.places[name]
        if place.change is SHIFTED:
            return torch.float32
        return DTYPES.get(self.file.tensors[place.name].encoding.name, torch.float32)
