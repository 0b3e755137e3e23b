"""The tensors of a model directory: of one file, or of the shards that an index names. And of a GGUF file, by the names
that its model is published under, so that a family reads either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yanmo.core.errors import CorruptError, DataError
from yanmo.core.files import read_json
from yanmo.core.messages import text
from yanmo.models.weights.header import Entry, read_header
from yanmo.models.weights.tensors import Tensors, finite

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
INDEX_LIMIT = 100 << 20  # bytes


def read_tensors(path: Path, infinite: bool = False) -> Tensors:
    """The tensors of a model directory or a GGUF file, every header checked, none read yet. Reading one that holds NaN, or
    an infinity where `infinite` ones mean nothing, is a CorruptError with its name."""
    if is_gguf(path):
        from yanmo.models.gguf.model import opened

        return opened(path).tensors
    refuse_pickle(path)
    if (path / WEIGHTS).is_file():
        return Shards({path / WEIGHTS: read_header(path / WEIGHTS)}, infinite)
    if (path / INDEX).is_file():
        return Shards(_indexed(path), infinite)
    raise DataError(str(path), text("a model directory"), text("no {name} in it", name=WEIGHTS))


def is_gguf(path: Path) -> bool:
    """Whether the path is a GGUF file, by its name or its first bytes."""
    if path.suffix.lower() == ".gguf":
        return True
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"GGUF"


def refuse_pickle(path: Path) -> None:
    """DataError for a pickle file, and for a directory whose weights are in nothing else; nothing of it is opened."""
    found = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    if any(file.name in (WEIGHTS, INDEX) for file in found):
        return
    pickles = [file.name for file in found if file.suffix.lower() in PICKLES]
    if pickles:
        remedy = text("a pickle can run any code when it is opened; where you trust its source, convert it: "
                      "transformers' AutoModel.from_pretrained(FOLDER).save_pretrained(NEW) writes safetensors")  # fmt: skip
        raise DataError(str(path), text("weights as safetensors or GGUF"), ", ".join(pickles[:5]), remedy)


class Shards(Tensors):
    """The tensors of safetensors files whose headers have been read."""

    def __init__(self, headers: dict[Path, dict[str, Entry]], infinite: bool = False):
        self.infinite = infinite
        self.places = {name: (file, entry) for file, header in headers.items() for name, entry in header.items()}
        self._open: dict[Path, Any] = {}

    def __getitem__(self, name: str) -> Tensor:
        """The tensor, read from the file."""
        from safetensors import SafetensorError, safe_open

        file, _ = self.places[name]
        try:
            if file not in self._open:
                self._open[file] = safe_open(file, framework="pt")
            return finite(self._open[file].get_tensor(name), name, str(file), self.infinite)
        except SafetensorError as error:
            raise CorruptError(str(file), text("a safetensors file"), str(error)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: Any) -> bool:
        return name in self.places

    def shape(self, name: str) -> tuple[int, ...]:
        return self.places[name][1].shape

    def dtype(self, name: str) -> torch.dtype:
        return self.places[name][1].dtype


def _indexed(folder: Path) -> dict[Path, dict[str, Entry]]:
    """The headers of an index's shards. CorruptError where the two disagree."""
    place = folder / INDEX

    def wrong(given: Any) -> CorruptError:
        return CorruptError(str(place), text("an index of shards"), given)

    if place.stat().st_size > INDEX_LIMIT:
        raise wrong(text("{size} bytes", size=place.stat().st_size))
    try:
        weights = read_json(place)["weight_map"]
        if not isinstance(weights, dict) or not all(isinstance(shard, str) for shard in weights.values()):
            raise TypeError(text("a 'weight_map' that is no mapping of names"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise wrong(" ".join(str(error).split())[:200]) from None
    headers = {}
    owner: dict[str, str] = {}
    for shard in sorted(set(weights.values())):
        if shard != Path(shard).name or not shard.endswith(".safetensors") or "\\" in shard or "\0" in shard:
            raise wrong(text("a shard that is no file of this directory: {name}", name=shard[:80]))
        if not (folder / shard).is_file():
            raise DataError(str(folder), text("a model directory"), text("no {name} in it", name=shard))
        headers[folder / shard] = read_header(folder / shard)
        for name in headers[folder / shard]:
            if name in owner:
                raise wrong(text("{name} stands in {first} and in {second}", name=name, first=owner[name], second=shard))
            owner[name] = shard
    for name in sorted(weights.keys() | owner.keys()):
        if weights.get(name) != owner.get(name):
            none = str(text("none"))
            raise wrong(text("{name} in {said} by the index, in {found} by the files", name=name,
                             said=weights.get(name, none), found=owner.get(name, none)))  # fmt: skip
    return headers
