"""Optimizers of parameters that lie in slices (FSDP): the same step, whatever is drawn in it, and averages of slices."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from yanmo.core.errors import RequestError
from yanmo.core.registry import create, names

from .test_base import Holder


@pytest.fixture(scope="module")
def mesh():
    """One process that is its own group: slices are whole, and every operation still goes through DTensor."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def slices(model, mesh):
    for name, parameter in list(model.named_parameters()):
        setattr(model, name, nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)])))
    return model


def test_adafactor_wants_whole_matrices(mesh):
    with pytest.raises(RequestError, match="an optimizer other than 'adafactor' for a model in slices"):
        create("optimizer", "adafactor").make(slices(Holder(), mesh))


@pytest.mark.parametrize("name", [name for name in names("optimizer") if name != "adafactor"])
def test_slices_move_as_whole_parameters_do(name, mesh):
    part = create("optimizer", {"type": name, "noise": 0.1, "l1": 0.1, "l2": 0.2})
    average = create("average", {"type": "ema", "decay": 0.5}).make(1)
    whole, sliced = Holder(), slices(Holder(), mesh)
    optimizers = part.make(whole), part.make(sliced)
    for step in range(3):
        for model, optimizer in zip((whole, sliced), optimizers):
            optimizer.begin(1.0, 7, step)
            with optimizer.sampled():
                plain = Holder()
                plain.slopes(step)
                for parameter, like in zip(model.parameters(), plain.parameters()):
                    slope = like.grad
                    parameter.grad = distribute_tensor(slope, mesh, [Shard(0)]) if model is sliced else slope
            optimizer.step()
            average.follow(optimizer, step + 1)
    for a, b in zip(whole.parameters(), sliced.parameters()):
        torch.testing.assert_close(a.detach(), b.detach().full_tensor(), rtol=1e-5, atol=1e-6)
    means = [average.mean(optimizer) for optimizer in optimizers]
    for a, b in zip(whole.parameters(), sliced.parameters()):
        torch.testing.assert_close(means[0][a], means[1][b].full_tensor(), rtol=1e-5, atol=1e-6)
    deviations = [optimizer.posterior(model) for model, optimizer in zip((whole, sliced), optimizers)]
    if deviations[0] is not None:
        assert deviations[0].keys() == deviations[1].keys() == {"matrix", "vector"}
        for key, value in deviations[0].items():
            torch.testing.assert_close(value, deviations[1][key])
