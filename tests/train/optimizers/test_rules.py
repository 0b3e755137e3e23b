"""Each rule against the one it is: torch's, transformers', or the algorithm as its paper writes it."""

import numpy as np
import pytest
import torch

from yanmo.core.registry import create

from .test_base import Holder

STEPS = 12


def moved(part, steps=STEPS):
    """The parameters after some steps with given gradients, at rates that fall."""
    model = Holder()
    made = create("optimizer", part).make(model)
    for step in range(steps):
        made.begin(1 / (1 + step), 0, step)
        with made.sampled():
            model.slopes(step)
        made.step()
    return model


def reference(make, rate, steps=STEPS):
    model = Holder()
    made = make([{"params": [model.matrix]}, {"params": [model.vector], "weight_decay": 0.0}])
    for step in range(steps):
        for group in made.param_groups:
            group["lr"] = rate / (1 + step)
        model.slopes(step)
        made.step()
    return model


def same(found, wanted, **tolerance):
    for a, b in zip(found.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_adamw_is_torchs():
    ours = moved({"type": "adamw", "lr": 0.1, "weight_decay": 0.2, "betas": [0.8, 0.9]})
    same(ours, reference(lambda groups: torch.optim.AdamW(groups, weight_decay=0.2, betas=(0.8, 0.9)), 0.1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_is_torchs_whose_decay_is_our_l2(momentum, nesterov):
    ours = moved({"type": "sgd", "lr": 0.1, "l2": 0.3, "momentum": momentum, "nesterov": nesterov})
    same(ours, reference(lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.3, momentum=momentum, nesterov=nesterov),
                         0.1), rtol=1e-6, atol=1e-7)  # fmt: skip


def test_adafactor_is_torchs():
    ours = moved({"type": "adafactor", "lr": 0.05, "weight_decay": 0.1})
    same(ours, reference(lambda groups: torch.optim.Adafactor(groups, weight_decay=0.1), 0.05), rtol=1e-5, atol=1e-6)


def test_adafactor_is_transformers():
    """Whose rate knows no bound of 1/√step: the same where the rate is below that anyway."""
    from transformers.optimization import Adafactor

    def make(groups):
        return Adafactor(groups, lr=0.05, scale_parameter=True, relative_step=False, warmup_init=False, weight_decay=0.0)

    same(moved({"type": "adafactor", "lr": 0.05, "weight_decay": 0.0}), reference(make, 0.05), rtol=1e-4, atol=1e-5)


def test_lion_is_the_papers_algorithm():
    """Chen et al. 2023, algorithm 2, in plain numpy and double precision."""
    rate, decay, first, second = 0.01, 0.4, 0.9, 0.99
    model = Holder()
    weights = {n: p.detach().double().numpy().copy() for n, p in model.named_parameters()}
    momenta = {n: np.zeros_like(w) for n, w in weights.items()}
    for step in range(STEPS):
        model.slopes(step)
        for name, p in model.named_parameters():
            slope, lr = p.grad.double().numpy(), rate / (1 + step)
            direction = np.sign(first * momenta[name] + (1 - first) * slope)
            weights[name] -= lr * (direction + (decay if name == "matrix" else 0) * weights[name])
            momenta[name] = second * momenta[name] + (1 - second) * slope
    ours = moved({"type": "lion", "lr": rate, "weight_decay": decay})
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.detach().numpy(), weights[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("radius", [None, 1e-3])
def test_ivon_is_its_authors(radius):
    """The same noise for both: the package draws a whole group at once, we parameter by parameter."""
    ivon = pytest.importorskip("ivon", reason="ivon-opt is not installed")
    settings = {"type": "ivon", "lr": 0.3, "ess": 50.0, "hessian": 0.5, "weight_decay": 0.02, "betas": [0.9, 0.99],
                "radius": radius}  # fmt: skip
    ours, theirs = Holder(), Holder()
    made = create("optimizer", settings).make(ours)
    more = {} if radius is None else {"clip_radius": radius}
    groups = [{"params": [theirs.matrix]}, {"params": [theirs.vector], "weight_decay": 0.0}]
    other = ivon.IVON(groups, lr=0.3, ess=50.0, hess_init=0.5, weight_decay=0.02, beta1=0.9, beta2=0.99, **more)
    for step in range(STEPS):
        made.begin(1 / (1 + step), 0, step)
        for group in other.param_groups:
            group["lr"] = 0.3 / (1 + step)
        drawn = []
        with made.sampled():
            drawn = [p.detach().clone() for p in ours.parameters()]
            ours.slopes(step)
        own = made.generator("weights")
        torch.default_generator.set_state(own.get_state())
        with other.sampled_params(train=True):
            for mine, its in zip(drawn, theirs.parameters(), strict=True):
                torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-7)
            theirs.slopes(step)
        made.step()
        other.step()
        same(ours, theirs, rtol=1e-5, atol=1e-6)
    hessians = torch.cat([made.state[p]["hessian"].flatten() for p in ours.parameters()])
    torch.testing.assert_close(hessians, torch.cat([group["hess"] for group in other.param_groups]), rtol=1e-5, atol=1e-6)
