"""The tensors of a checkpoint, whole or in slices: read on any number of ranks, by one process too.

    step-00001000/model.safetensors              of one process; optimizer.safetensors beside it
    step-00001000/model/shard-00001-…safetensors of many, by torch.distributed.checkpoint; optimizer/ beside it. Which slice of
                                                 which tensor a file holds stands in its own header (no pickle, no index)

A slice that is wanted is put together from whatever slices are there.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.train import divided
from yanmo.train.divided import shape_of

MODEL, OPTIMIZER = "model", "optimizer"


def is_sharded(path: Path) -> bool:
    return (path / MODEL).is_dir()


def in_slices(model: nn.Module) -> bool:
    """Whether the model's parameters lie in slices on several ranks."""
    return any(divided.in_slices(parameter) for parameter in model.parameters())


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name → the shape of the whole tensor."""
    named = dict(model.named_parameters())
    return {name: tuple(shape_of(named.get(name, value))) for name, value in tensors_of(model).items()}


def stored(path: Path) -> dict[str, tuple[int, ...]]:
    """The same of a checkpoint's model."""
    if not is_sharded(path):  # beside the optimizer's and the rows' own tensors, see `checkpoint`
        from safetensors import safe_open

        with safe_open(path / f"{MODEL}.safetensors", "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    return {name: tuple(about.size) for name, about in _about(path, MODEL).items()}


def _about(path: Path, what: str) -> dict[str, Any]:
    """Name → size and type of what is stored, of a checkpoint's model or optimizer."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    found: Any = HuggingFaceStorageReader(str(_place(path, what))).read_metadata().state_dict_metadata
    return {name: about for name, about in found.items() if ("::" in name) == (what == OPTIMIZER)}  # plain ones share a folder


def _place(path: Path, what: str) -> Path:
    return path / what if is_sharded(path) else path


def read(path: Path, what: str) -> dict[str, Tensor]:
    """All of a checkpoint's model or optimizer, whole, in one process."""
    from safetensors.torch import load_file

    if not is_sharded(path):
        return load_file(path / f"{what}.safetensors")
    wanted = {name: torch.zeros(about.size, dtype=about.properties.dtype) for name, about in _about(path, what).items()}
    load(_place(path, what), wanted)
    return wanted


def load(path: Path, tensors: dict[str, Tensor]) -> None:
    """Fills the tensors (whole ones, or slices of them) from the checkpoint at `path`, sharded or not."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    alone = not any(divided.in_slices(tensor) for tensor in tensors.values())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process: as is meant
        dcp.load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(path)), no_dist=alone)


def load_weights(path: Path, model: nn.Module) -> None:
    """The model's weights, from a checkpoint of any number of ranks."""
    with torch.no_grad():
        load(_place(path, MODEL), tensors_of(model))


def load_optimizer(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """What the optimizer remembered, into slices like those of its parameters."""
    parameters = dict(model.named_parameters())
    wanted: dict[str, Tensor] = {}
    for key, about in _about(path, OPTIMIZER).items():
        parameter = parameters[key.rpartition("::")[0]]
        if about.size == parameter.shape:
            wanted[key] = torch.zeros_like(parameter, dtype=about.properties.dtype)
        else:  # a counter
            wanted[key] = torch.zeros(about.size, dtype=about.properties.dtype)
    with torch.no_grad():
        load(_place(path, OPTIMIZER), wanted)
    optimizer.state.clear()
    for key, value in wanted.items():
        name, _, what = key.rpartition("::")
        optimizer.state[parameters[name]][what] = value.to(parameters[name].device) if parameters[name].is_cuda else value


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name; one under two names once."""
    found: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        found.setdefault(id(value), name)
    values = model.state_dict()
    return {name: values[name].detach() for name in found.values()}
