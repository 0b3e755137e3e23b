"""Which tensors a GGUF file of a published model has, in which encodings, and where each is read from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.models.gguf.architectures import EXPORTED, GPT_NEOX, Architecture, Change
from yanmo.models.gguf.encodings import BY_NAME, Encoding
from yanmo.models.gguf.rotary import TENSOR
from yanmo.models.gguf.settings import described
from yanmo.models.gguf.writer import Planned
from yanmo.models.weights.tensors import Tensors

FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "bf16": 32}  # llama.cpp's number for the file as a whole
PLAIN = ("position_embd", "token_types", "blk.{layer}.ffn_gate_inp")  # kept as float32: small, or choosing others
TIED = ("gpt2", "gemma2", "gemma3_text")  # where config.json does not say
VOCABULARY = ("token_embd", "output")  # a mistake in these is a mistake in every token: 8 bits where others have 4


def planned(config: Mapping[str, Any], tensors: Tensors, dtype: str, place: str) -> tuple[dict[str, Any], list[Planned]]:
    """The metadata (without the tokenizer's) and the tensors of a file. `dtype`: one of FILE_TYPES; vectors stay float32.
    DataError for a model that the format has no place for, naming the setting or the tensors."""
    metadata, factors = described(config, place)
    metadata |= {"general.file_type": FILE_TYPES[dtype], "general.quantization_version": 2}
    kind = EXPORTED[config["model_type"]]
    tied = bool(config.get("tie_word_embeddings", kind.model_type in TIED))
    sources = _sources(kind, tensors, tied, place)
    if tied and kind is GPT_NEOX:  # of which llama.cpp reads no model without a head of its own
        sources["output", "weight", 0] = sources["token_embd", "weight", 0]
    found = []
    for (stem, suffix, layer), names in sorted(sources.items(), key=lambda item: _order(kind, item[0])):
        change, shape = kind.change(stem, suffix), tensors.shape(names[0])
        if "{expert}" in kind.names[stem]:
            count = config.get("num_local_experts") or config.get("num_experts")
            if len(names) != count:
                given = text("{count} of {name}", count=len(names), name=names[0])
                raise DataError(place, text("{count} experts", count=count), given)
            shape = (len(names), *shape)
        if change is not None and change.turned:
            shape = shape[::-1]
        read = _reader(tensors, names, change, config, "{expert}" in kind.names[stem])
        found.append(Planned(f"{stem.format(layer=layer)}.{suffix}", encoding_of(stem, shape, dtype), shape, read))
    if factors is not None:
        found.append(Planned(TENSOR, BY_NAME["F32"], factors.shape, lambda: factors))
    return metadata, found


def encoding_of(stem: str, shape: tuple[int, ...], dtype: str) -> Encoding:
    """What a tensor is written as: vectors and what PLAIN names plain, rows that are no whole blocks as 16 bits."""
    if len(shape) == 1 or stem in PLAIN:
        return BY_NAME["F32"]
    encoding = BY_NAME["Q8_0" if dtype == "q4_0" and stem in VOCABULARY else dtype.upper()]
    return encoding if shape[-1] % encoding.block == 0 else BY_NAME["F16"]


def _sources(kind: Architecture, tensors: Tensors, tied: bool, place: str) -> dict[tuple[str, str, int], list[str]]:
    """(name in the file, weight or bias, layer) → the published tensors it is made of, experts in order."""
    patterns = [(stem, _pattern(theirs)) for stem, theirs in kind.names.items()]
    found: dict[tuple[str, str, int], list[tuple[int, str]]] = {}
    unknown = []
    for name in tensors:
        if name.endswith(kind.ignored) or (tied and name in ("lm_head.weight", "embed_out.weight")):
            continue
        for candidate in (name, kind.prefix + name, name.removeprefix(kind.prefix)):
            match = next(((stem, m) for stem, pattern in patterns if (m := pattern.fullmatch(candidate))), None)
            if match is not None:
                stem, groups = match[0], match[1].groupdict()
                key = (stem, groups["suffix"], int(groups.get("layer") or 0))
                found.setdefault(key, []).append((int(groups.get("expert") or 0), name))
                break
        else:
            unknown.append(name)
    if unknown:
        raise DataError(place, text("tensors of {architecture}", architecture=kind.model_type),
                        ", ".join(unknown[:5]) + (f" … ({len(unknown)})" if len(unknown) > 5 else ""),
                        text("the format has no place for it"))  # fmt: skip
    return {key: [name for _, name in sorted(names)] for key, names in found.items()}


def _pattern(published: str) -> re.Pattern[str]:
    escaped = re.escape(published).replace(r"\{layer\}", r"(?P<layer>\d+)").replace(r"\{expert\}", r"(?P<expert>\d+)")
    return re.compile(escaped + r"\.(?P<suffix>weight|bias)")


def _order(kind: Architecture, key: tuple[str, str, int]) -> tuple[int, int, str]:
    stem, suffix, layer = key
    return (layer if stem.startswith("blk.") else -1, list(kind.names).index(stem), suffix)


def _reader(tensors: Tensors, names: list[str], change: Change | None, config: Mapping[str, Any],
            stacked: bool) -> Callable[[], NDArray[Any]]:  # fmt: skip
    def one(name: str) -> torch.Tensor:
        tensor = tensors[name].float()
        return tensor if change is None else change.into(tensor, config)

    def read() -> NDArray[Any]:
        if stacked:
            return np.stack([one(name).numpy() for name in names])
        return one(names[0]).contiguous().numpy()

    return read
