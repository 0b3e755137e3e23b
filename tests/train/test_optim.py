"""Every optimizer of the registry; Muon's orthogonal updates; which parameter gets what."""

import math

import pytest
import torch
from torch import nn

from yanmo.core.errors import RecipeError
from yanmo.core.registry import create, names
from yanmo.train.optim import orthogonalise, partition, set_rates

from .conftest import SMALL


def built(model, tokenizer):
    return create("model", {"type": model, **SMALL[model]}).build(tokenizer, torch.Generator().manual_seed(0), 24)


@pytest.mark.parametrize("model", SMALL)
def test_each_parameter_is_in_one_group(model, tokenizer):
    made = built(model, tokenizer)
    groups = partition(made)
    ids = [id(p) for group in groups.values() for p in group]
    assert sorted(ids) == sorted(id(p) for p in made.parameters())
    assert [p.shape for p in groups["embedding"]] == [made.embedding.weight.shape]
    assert all(p.ndim == 2 for p in groups["matrices"])
    assert all(p.ndim == 1 for p in groups["vectors"])
    assert groups["matrices"]


def test_an_untied_head_has_a_group_of_its_own(tokenizer):
    part = create("model", {"type": "transformer", **SMALL["transformer"], "tie": False})
    made = part.build(tokenizer, torch.Generator().manual_seed(0), 24)
    assert partition(made)["head"][0] is made.head.weight


@pytest.mark.parametrize("name", names("optimizer"))
@pytest.mark.parametrize("model", SMALL)
def test_every_optimizer_overfits_two_rows(name, model, job, tokenizer):
    """As the loop would: loss falls to nearly nothing on two examples."""
    from yanmo.core.data import Row
    from yanmo.train.randomness import seeded
    from yanmo.train.step import forward_of, update

    made = job(model=model, optimizer=name)
    rows = [Row([1, *tokenizer.encode(text)][:25]) for text in ("Call me Ishmael.", "床前明月光，疑是地上霜。")]
    batch = made.objective.collate(rows, torch.Generator())
    forward = forward_of(made)
    made.model.train()
    losses = [update(made, forward, [batch], seeded(0, step)).loss for step in range(150 if model == "transformer" else 500)]
    assert losses[0] > 3.5
    assert losses[-1] < 0.1


@pytest.mark.parametrize("name", names("optimizer"))
def test_the_schedule_scales_every_groups_own_peak(name, tokenizer):
    made = create("optimizer", name).make(built("transformer", tokenizer))
    peaks = [group["peak"] for group in made.param_groups]
    set_rates(made, 0.25)
    assert [group["lr"] for group in made.param_groups] == [0.25 * peak for peak in peaks]


@pytest.mark.parametrize("name", names("optimizer"))
def test_filled_settings_make_the_same_optimizer(name, tokenizer):
    """What the plan records is what runs."""
    part = create("optimizer", name)
    first = part.make(built("transformer", tokenizer))
    second = create("optimizer", part.filled(32).model_dump()).make(built("transformer", tokenizer))
    assert [g["peak"] for g in first.param_groups] == pytest.approx([g["peak"] for g in second.param_groups], rel=1e-6)


@pytest.mark.parametrize("shape", [(32, 32), (96, 32), (32, 96)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices, 8))
    assert values.max() < 1.15
    assert values.median() > 0.9
    kept = torch.linalg.svd(matrices[0], full_matrices=False)
    ideal = kept.U @ kept.Vh
    cosine = (orthogonalise(matrices, 8)[0] * ideal).sum() / ideal.square().sum()
    assert cosine > 0.97  # the same directions, not just the same sizes


def test_maps_side_by_side_in_one_matrix_are_updated_each_for_itself():
    """Queries, keys and values in one parameter move exactly as three parameters would."""
    rng = torch.Generator().manual_seed(0)
    parts = [torch.randn(rows, 16, generator=rng) for rows in (16, 8, 8)]
    slopes = [torch.randn(rows, 16, generator=rng) for rows in (16, 8, 8)]

    class Holder(nn.Module):
        def __init__(self, values):
            super().__init__()
            self.values = nn.ParameterList(nn.Parameter(value.clone()) for value in values)

    apart, together = Holder(parts), Holder([torch.cat(parts)])
    together.values[0].pieces = (16, 8, 8)
    for holder, gradients in ((apart, slopes), (together, [torch.cat(slopes)])):
        optimizer = create("optimizer", {"type": "muon", "lr": 0.1, "weight_decay": 0}).make(holder)
        for _ in range(3):
            for value, gradient in zip(holder.values, gradients):
                value.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(torch.cat(list(apart.values)), together.values[0], rtol=1e-5, atol=1e-6)
    moved = float(torch.linalg.matrix_norm(together.values[0].detach()[:16] - parts[0], 2))
    assert moved == pytest.approx(3 * 0.1, rel=0.35)  # a step moves the matrix by its learning rate, measured by its norm


def test_decay_leaves_norms_and_biases_alone(tokenizer):
    for name in names("optimizer"):
        for group in create("optimizer", name).make(built("transformer", tokenizer)).param_groups:
            assert (group["weight_decay"] == 0) if group["name"] == "vectors" else True


def test_wider_models_take_smaller_steps():
    adamw = create("optimizer", "adamw")
    assert adamw.filled(1024).lr == pytest.approx(adamw.filled(256).lr / 2)
    assert math.isclose(create("optimizer", {"type": "adamw", "lr": 1e-3}).filled(1024).lr, 1e-3)


@pytest.mark.parametrize("settings", [{"type": "adamw", "lr": -1e-3}, {"type": "adamw", "lr": 0}, {"type": "muon", "momentum": 1.0},
                                      {"type": "muon", "lr": -1}])  # fmt: skip
def test_rates_that_make_no_sense(settings):
    with pytest.raises(RecipeError, match=r"a number (above|below)"):
        create("optimizer", settings)
