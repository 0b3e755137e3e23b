"""How sure a model is of each weight: the standard deviations that a variational optimizer learned, beside its weights.

    posterior.safetensors    parameter → deviation, of the parameter's shape and by the module's own names

A sample of the posterior is the model with normal noise of these deviations in its weights; what several samples say,
averaged, is better calibrated than what the mean alone says (Shen et al. 2024, arXiv:2402.17641, section 4).
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from yanmo.core.errors import CorruptError, RequestError
from yanmo.core.messages import text
from yanmo.models.base import Loaded

FILE = "posterior.safetensors"


def write(folder: Path, deviations: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in deviations.items()}, folder / FILE)


def sample(loaded: Loaded, seed: int) -> nn.Module:
    """A copy of the model with weights drawn from its posterior; the same seed draws the same ones. RequestError for a model
    without a posterior."""
    from safetensors.torch import load_file

    path = loaded.folder / FILE
    if not path.is_file() or not isinstance(loaded.model, nn.Module):
        raise RequestError(str(loaded.folder), text("a model with a posterior"), text("no {name} in it", name=FILE),
                           text("train it with 'optim: {optim}'", optim="{type: ivon}"))  # fmt: skip
    deviations = load_file(path)
    drawn = deepcopy(loaded.model)
    parameters = dict(drawn.named_parameters())
    strange = sorted(name for name, value in deviations.items()
                     if name not in parameters or parameters[name].shape != value.shape)  # fmt: skip
    if strange:
        raise CorruptError(str(path), text("deviations of the model's own parameters"), strange[0])
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(deviations):
            noise = torch.randn(deviations[name].shape, generator=rng) * deviations[name].float()
            parameters[name].add_(noise.to(parameters[name].device, parameters[name].dtype))
    return drawn
