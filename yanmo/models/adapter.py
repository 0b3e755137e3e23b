"""What an adapter is: a few parameters that learn beside a model that stays as it is.

    apply      the model with the adapter in it; what stays as it is, is no parameter any more, so that no optimizer, checkpoint
               or gradient is made for it
    finished   the model as it is saved: with the adapter merged into it, where that is possible
    save       the adapter alone, in the layout of PEFT, which opens it on the same base

What stands outside the backbone (the head of a classifier) is trained along.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from yanmo.core.config import Part

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

FOLDER = "adapter"


class AdapterPart(Part):
    """An adapter's settings in a recipe."""

    merges: bool = True

    def apply(self, model: Any, rng: torch.Generator) -> Any:
        """The model with a fresh adapter, drawn from `rng` alone; only that and the head are parameters of it."""
        raise NotImplementedError

    def finished(self, model: Any) -> Any:
        """The trained model as it is saved whole: an ordinary one again. TrainingError where it would give other logits."""
        raise NotImplementedError

    def save(self, folder: Path, model: Any, base: str, tokenizer: Tokenizer | None, labels: list[str]) -> None:
        """The trained adapter, before `finished`: adapter_config.json, adapter_model.safetensors, the tokenizer."""
        raise NotImplementedError


def backbone_of(model: Any) -> Any:
    """The language model inside a model with a head, or the model itself."""
    return getattr(model, "backbone", model)


def outside(model: Any) -> list[nn.Parameter]:
    """What is trained beside the adapter: the head of a model that has one."""
    return [] if backbone_of(model) is model else [p for n, p in model.named_parameters() if not n.startswith("backbone.")]


def shelve(model: nn.Module, trained: Iterable[nn.Parameter]) -> None:
    """Makes all parameters but `trained` plain tensors of their modules, which go where the model goes and are in no list of
    parameters and in no checkpoint. What their makers wrote on them is kept."""
    kept = {id(parameter) for parameter in trained}
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and id(parameter) not in kept:
                del module._parameters[name]
                parameter.requires_grad_(False)
                parameter.grad = None
                module.register_buffer(name, parameter, persistent=False)
                vars(module).setdefault("shelved", {})[name] = {k: v for k, v in vars(parameter).items() if k == "pieces"}


def unshelve(model: nn.Module) -> None:
    """Makes parameters again of what was shelved; a tensor under two names is one parameter again."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, written in vars(module).pop("shelved", {}).items():
            value: Any = module._buffers.pop(name)
            module._non_persistent_buffers_set.discard(name)
            parameter = made.setdefault(value.data_ptr(), nn.Parameter(value.detach()))
            vars(parameter).update(written)
            module.register_parameter(name, parameter)


def shelved(model: nn.Module) -> list[Tensor]:
    """The tensors that stay as they are."""
    return [module._buffers[name] for module in model.modules() for name in getattr(module, "shelved", {})]  # type: ignore[misc]


def copied(model: nn.Module) -> nn.Module:
    """A copy whose parameters are its own; what stays as it is, the two have in common."""
    common = {id(tensor): tensor for tensor in (*shelved(model), *quantised(model))}
    return copy.deepcopy(model, dict(common))


def quantised(model: nn.Module) -> list[Tensor]:
    from yanmo.nn.four import FourLinear

    return [x for module in model.modules() if isinstance(module, FourLinear) for x in module.buffers() if x is not None]
