"""Which parameter is what: the five groups, the layer it stands in, and whether it is trained at all.

Parameters fall into five groups by what they are: `matrices` (2-D weights inside the layers), `embedding` and `head`
(2-D with one row for each token of the vocabulary), `tables` (hashed n-grams, whose gradients are sparse), `vectors` (norms,
biases, scalars).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from yanmo.core.errors import RecipeError, nearest
from yanmo.core.messages import text
from yanmo.train.optimizers import rows

WIDTH = 256  # the width at which the default rates were tuned; see LOG.md


@dataclass(frozen=True)
class Group:
    """Parameters of one kind (and, with layer-wise decay, of one layer): `share` of the kind's learning rate is theirs."""

    name: str
    params: list[Tensor]
    share: float = 1.0


def groups_of(model: nn.Module, layer_decay: float = 1.0) -> list[Group]:
    """The model's trainable parameters; with a `layer_decay` x, those k layers below the top have xᵏ of the rate (Clark et
    al. 2020, ELECTRA, appendix A; Howard and Ruder 2018, section 3.2)."""
    if layer_decay == 1.0:
        return [Group(name, params) for name, params in partition(model).items() if params]
    layers = layers_of(model)
    top = max(layers.values())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = []
    for kind, params in partition(model).items():
        below: dict[int, list[Tensor]] = {}
        for parameter in params:
            below.setdefault(top - layers[names[id(parameter)]], []).append(parameter)
        found += [Group(kind, below[k], layer_decay**k) for k in sorted(below)]
    return found


def partition(model: nn.Module) -> dict[str, list[Tensor]]:
    """The model's trainable parameters by group, each once (a tied head is the embedding)."""
    groups: dict[str, list[Tensor]] = {"matrices": [], "embedding": [], "head": [], rows.NAME: [], "vectors": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[group_of(name, parameter, model)].append(parameter)
    return groups


def group_of(name: str, parameter: Tensor, model: nn.Module) -> str:
    if parameter.ndim < 2 or min(parameter.shape) == 1:
        return "vectors"
    owner = model.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, nn.EmbeddingBag):
        return rows.NAME
    if isinstance(owner, nn.Embedding):
        return "embedding"
    vocabulary = getattr(model, "vocabulary", None)
    if parameter.shape[0] == vocabulary:
        return "embedding" if "embed" in name else "head"
    return "matrices" if parameter.ndim == 2 else "vectors"


def layers_of(model: nn.Module) -> dict[str, int]:
    """Each parameter's layer: 0 for embeddings and what stands before the first layer, 1 to L for the layers (an encoder's
    before its decoder's), L + 1 for what stands behind them (the last norm, a head of its own)."""
    stacks = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [name for name in stacks if not any(name.startswith(f"{other}.") for other in stacks)]
    places: dict[str, int] = {}  # the name of a layer → its number
    keys: dict[str, str] = {}  # a parameter inside a layer → that layer
    for name, _ in model.named_parameters():
        stack = next((stack for stack in outer if name.startswith(f"{stack}.")), None)
        if stack is not None:
            keys[name] = f"{stack}.{name[len(stack) + 1 :].split('.')[0]}"
        elif (depth := re.search(r"_l(\d+)(_reverse)?$", name)) is not None:  # torch's recurrent layers
            keys[name] = f"{name.rpartition('.')[0]}.{depth.group(1)}"
        if name in keys:
            places.setdefault(keys[name], len(places) + 1)
    found, reached = {}, False
    for name, parameter in model.named_parameters():
        reached = reached or name in keys
        if name in keys:
            found[name] = places[keys[name]]
        else:
            first = not reached or group_of(name, parameter, model) in ("embedding", rows.NAME)
            found[name] = 0 if first else len(places) + 1
    return found


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Parameters whose names match one of the patterns (`*`, `?`, `[…]`) are trained no more. RecipeError for a pattern that
    matches none, and where nothing is left to train."""
    named = dict(model.named_parameters())
    for pattern in patterns:
        matched = [name for name in named if fnmatchcase(name, pattern)]
        if not matched:
            prefixes = {f"{name.rpartition('.')[0]}.*" for name in named if "." in name}
            raise RecipeError("train.optim.freeze", text("a pattern of parameter names, such as 'embedding.*'"), f"'{pattern}'",
                              nearest(pattern, {*named, *prefixes}))  # fmt: skip
        for name in matched:
            named[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in named.values()):
        raise RecipeError("train.optim.freeze", text("some parameters that are left to train"), text("none"))


def width_of(model: nn.Module) -> int:
    return int(getattr(model, "width", None) or WIDTH)
