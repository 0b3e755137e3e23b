"""What every optimizer of the registry has: the same contract, penalties, noise, an exact resume, settings that are refused."""

import math

import pytest
import torch
from torch import nn

from yanmo.core import files
from yanmo.core.data import Row
from yanmo.core.errors import RecipeError
from yanmo.core.registry import create, names
from yanmo.train.loop import train
from yanmo.train.step import forward_of, update

from .test_groups import SMALL, built

ALL = names("optimizer")
EVERYTHING = {"l1": 1e-4, "l2": 1e-3, "noise": 1e-3, "noise_decay": 0.6, "layer_decay": 0.9, "freeze": ["stack.blocks.0.mlp.*"]}


class Holder(nn.Module):
    """Parameters of a matrix and a vector, with gradients as given."""

    def __init__(self, seed=0):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(6, 4, generator=rng))
        self.vector = nn.Parameter(torch.randn(4, generator=rng))

    def slopes(self, step):
        rng = torch.Generator().manual_seed(100 + step)
        for p in self.parameters():
            p.grad = torch.randn(p.shape, generator=rng)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("model", [pytest.param(name, marks=pytest.mark.slow) if name == "lstm" else name for name in SMALL])
def test_every_optimizer_overfits_two_rows(name, model, job, tokenizer):
    """As the loop would: loss falls to nearly nothing on two examples, one English, one Chinese."""
    from yanmo.train.randomness import seeded

    made = job(model=model, optimizer={"type": name, **({"ess": 1e5} if name == "ivon" else {})})
    rows = [Row([1, *tokenizer.encode(text)][:25]) for text in ("Call me Ishmael.", "床前明月光，疑是地上霜。")]
    batch = made.objective.collate(rows, torch.Generator())
    forward = forward_of(made)
    made.model.train()
    losses: list[float] = []
    steps = 150 if model == "transformer" else 300
    for step in range(steps):
        made.optimizer.begin(made.schedule.factor(step, steps), 0, step)
        losses.append(update(made, forward, [batch], seeded(0, step)).loss)
    assert losses[0] > 3.5
    assert losses[-1] < 0.1


@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("name", ALL)
def test_six_steps_are_three_and_three_more(name, settings, job, weights):
    """Through the loop and the disk, with an optimizer made anew: the same bits, whatever it remembers and draws."""
    straight = job("straight", optimizer={"type": name, **settings}, steps=6)
    train(straight)
    killed = job("killed", optimizer={"type": name, **settings}, steps=6, checkpoint_every=3, keep=9)
    train(killed)
    files.remove(killed.folder / "checkpoints" / "step-00000006")
    again = job("killed", optimizer={"type": name, **settings}, steps=6, checkpoint_every=3, keep=9)
    train(again)
    for parameter, value in weights(straight.model).items():
        assert torch.equal(value, again.model.state_dict()[parameter]), parameter
    memories = [{n: m.optimizer.state.get(p, {}) for n, p in m.model.named_parameters()} for m in (straight, again)]
    for parameter, state in memories[0].items():
        assert state.keys() == memories[1][parameter].keys()
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(memories[1][parameter][k])) for k, v in state.items())


@pytest.mark.parametrize("name", ALL)
def test_one_pass_and_many_small_ones_are_one_step(name, job, weights):
    """1×8 = 4×2 = 8×1, whatever is drawn in a step."""
    found = []
    for micro in (8, 2, 1):
        made = job(f"m{micro}", optimizer={"type": name, "noise": 1e-4}, steps=1, micro=micro)
        train(made)
        found.append(weights(made.model))
    for other in found[1:]:
        for parameter, value in found[0].items():
            torch.testing.assert_close(value, other[parameter], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ALL)
def test_the_schedule_scales_every_groups_own_peak(name, tokenizer):
    made = create("optimizer", name).make(built("transformer", tokenizer))
    peaks = [group["peak"] for group in made.param_groups]
    made.begin(0.25, 0, 0)
    assert [group["lr"] for group in made.param_groups] == [0.25 * peak for peak in peaks]


@pytest.mark.parametrize("name", ALL)
def test_filled_settings_make_the_same_optimizer(name, tokenizer):
    """What the plan records is what runs."""
    part = create("optimizer", name)
    first = part.make(built("transformer", tokenizer))
    second = create("optimizer", part.filled(32).model_dump(mode="json")).make(built("transformer", tokenizer))
    assert [g["peak"] for g in first.param_groups] == pytest.approx([g["peak"] for g in second.param_groups], rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_decay_and_penalties_leave_norms_and_biases_alone(name, tokenizer):
    part = create("optimizer", {"type": name, "weight_decay": 0.3, "l1": 0.1, "l2": 0.2})
    for group in part.make(built("transformer", tokenizer)).param_groups:
        amounts = {group[key] for key in ("weight_decay", "l1", "l2")} | {group.get("decay", 0)}
        assert amounts == {0} if group["name"] == "vectors" else group["l1"] == 0.1 and group["l2"] == 0.2
    assert any(0.3 in (g["weight_decay"], g.get("decay")) for g in part.make(built("transformer", tokenizer)).param_groups)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd", "lion", "adafactor"])
def test_decoupled_decay_shrinks_weights_in_proportion_to_the_rate(name):
    """Without a slope nothing else moves them (Adafactor, Lion, SGD, AdamW, Muon alike)."""
    model = Holder()
    before = model.matrix.detach().clone()
    made = create("optimizer", {"type": name, "lr": 0.1, "weight_decay": 0.5}).make(model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    made.begin(0.5, 0, 0)
    made.step()
    torch.testing.assert_close(model.matrix.detach(), before * (1 - 0.05 * 0.5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_penalties_are_gradients_of_what_they_penalise(name):
    """A step with l1 and l2 is the step whose gradient has their derivatives in it."""
    penalised, plain = Holder(), Holder()
    with_them = create("optimizer", {"type": name, "l1": 0.3, "l2": 0.7}).make(penalised)
    without = create("optimizer", {"type": name}).make(plain)
    for step in range(3):
        for model, made in ((penalised, with_them), (plain, without)):
            made.begin(1.0, 0, step)
            with made.sampled():
                model.slopes(step)
        plain.matrix.grad += 0.7 * plain.matrix.detach() + 0.3 * plain.matrix.detach().sign()
        with_them.step()
        without.step()
    torch.testing.assert_close(penalised.matrix, plain.matrix, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(penalised.vector, plain.vector)


def test_noise_has_the_variance_of_its_step_and_follows_from_it():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Parameter(torch.zeros(400, 400))

    def noise(step, seed=0):
        model = Wide()
        made = create("optimizer", {"type": "sgd", "lr": 1.0, "momentum": 0.0, "noise": 0.3, "noise_decay": 0.55}).make(model)
        model.wide.grad = torch.zeros_like(model.wide)
        made.begin(1.0, seed, step)
        made.step()
        return model.wide.detach()

    for step in (0, 1, 99):
        assert float(noise(step).std()) == pytest.approx(math.sqrt(0.3 / (1 + step) ** 0.55), rel=0.02)
        assert torch.equal(noise(step), noise(step))
    assert not torch.equal(noise(0), noise(0, seed=1))
    assert not torch.equal(noise(1), noise(2))


def test_wider_models_take_smaller_steps():
    for name in ("adamw", "sgd", "lion", "ivon"):
        part = create("optimizer", name)
        assert part.filled(1024).lr == pytest.approx(part.filled(256).lr / 2)
        assert create("optimizer", {"type": name, "lr": 1e-3}).filled(1024).lr == 1e-3


@pytest.mark.parametrize(("settings", "said"), [
    ({"type": "adamw", "lr": -1e-3}, "lr: expected a number above 0"),
    ({"type": "adamw", "lr": 0}, "lr: expected a number above 0"),
    ({"type": "adamw", "lr": float("nan")}, "lr: expected a (finite number|number above 0)"),
    ({"type": "adamw", "lr": float("inf")}, "lr: expected a finite number"),
    ({"type": "adamw", "betas": [0.9, 1.0]}, "betas.*: expected a number below 1"),
    ({"type": "lion", "betas": [-0.1, 0.9]}, "betas.*: expected a number of at least 0"),
    ({"type": "ivon", "betas": [0.9, 2]}, "betas.*: expected a number below 1"),
    ({"type": "ivon", "ess": 0}, "ess: expected a number above 0"),
    ({"type": "ivon", "hessian": -1}, "hessian: expected a number above 0"),
    ({"type": "muon", "momentum": 1.0}, "momentum: expected a number below 1"),
    ({"type": "muon", "lr": -1}, "lr: expected a number above 0"),
    ({"type": "sgd", "momentum": -0.5}, "momentum: expected a number of at least 0"),
    ({"type": "sgd", "momentum": 0, "nesterov": True}, "without it 'nesterov' has no effect"),
    ({"type": "adafactor", "beta2_decay": 0.5}, "beta2_decay: expected a number of at most 0"),
    ({"type": "adafactor", "clip": 0.5}, "clip: expected a number of at least 1"),
    ({"type": "adamw", "l1": -1}, "l1: expected a number of at least 0"),
    ({"type": "adamw", "l2": float("inf")}, "l2: expected a finite number"),
    ({"type": "adamw", "weight_decay": -0.1}, "weight_decay: expected a number of at least 0"),
    ({"type": "adamw", "noise": -0.1}, "noise: expected a number of at least 0"),
    ({"type": "adamw", "noise_decay": 0.9}, "without it 'noise_decay' has no effect"),
    ({"type": "adamw", "layer_decay": 0}, "layer_decay: expected a number above 0"),
    ({"type": "adamw", "layer_decay": 1.5}, "layer_decay: expected a number of at most 1"),
    ({"type": "adamw", "learning_rate": 1e-3}, "unknown key 'learning_rate'"),
])  # fmt: skip
def test_settings_that_make_no_sense(settings, said):
    with pytest.raises(RecipeError, match=said):
        create("optimizer", settings)
