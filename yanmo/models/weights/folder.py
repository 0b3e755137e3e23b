"""The tensors of a model directory: of one file, or of those that an index names."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from yanmo.core.errors import CorruptError, DataError
from yanmo.core.messages import text

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a directory, of one file or of those that an index names."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from yanmo.core.files import read_json

    parts = [WEIGHTS]
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        parts = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
    tensors: dict[str, Tensor] = {}
    for part in parts:
        if not (folder / part).is_file():
            raise DataError(str(folder), text("a model directory"), text("no {name} in it", name=part))
        try:
            tensors |= load_file(folder / part)
        except SafetensorError as error:
            raise CorruptError(str(folder / part), text("a safetensors file"), str(error)) from None
    return tensors
