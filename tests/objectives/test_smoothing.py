"""Label smoothing: torch's definition, chunk by chunk, in training alone, for every objective."""

import pytest
import torch
from torch.nn import functional as F

from yanmo.core.errors import RecipeError
from yanmo.core.registry import create
from yanmo.nn import heads
from yanmo.objectives.base import Context

from .tiny import ROWS, TEXTS, bound, headed, row, tokenizer


def rows(name):
    return [row(name, [1, *tokenizer().encode(text)][:60], i % 2, f"e{i}") for i, text in enumerate(TEXTS)]


def made(name, **settings):
    objective = create("objective", {"type": name, **settings}).bind(Context(tokenizer(), ["a", "b"]))
    model = headed(name)
    if hasattr(model, "score"):
        torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(1))
    return objective, model, objective.collate(rows(name), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["causal", "masked"])
def test_it_is_torchs_label_smoothing(name):
    objective, model, batch = made(name, smoothing=0.2)
    model.train()
    found = objective.loss(model, batch)
    gradients = torch.autograd.grad(found.total, list(model.parameters()))
    logits = model(batch.inputs).logits
    each = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none", label_smoothing=0.2)
    wanted = (each * batch.weights.flatten()).sum()
    assert found.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    for a, b in zip(gradients, torch.autograd.grad(wanted, list(model.parameters()))):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_logits_are_never_held_all_together(monkeypatch):
    """With room for four positions' logits the loss and its gradients stay the same, and no chunk is larger."""
    objective, model, batch = made("causal", smoothing=0.1)
    model.train()
    whole = objective.loss(model, batch)
    gradients = torch.autograd.grad(whole.total, list(model.parameters()))
    seen = []
    project = heads.project
    monkeypatch.setattr(heads, "ELEMENTS", 4 * model.vocabulary)
    monkeypatch.setattr(heads, "project", lambda hidden, *rest: (seen.append(len(hidden)), project(hidden, *rest))[1])
    chunked = objective.loss(model, batch)
    for a, b in zip(gradients, torch.autograd.grad(chunked.total, list(model.parameters()))):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert chunked.total.item() == pytest.approx(whole.total.item(), rel=1e-6)
    assert max(seen) == 4
    assert sum(seen) == batch.targets.numel()


@pytest.mark.parametrize("name", ROWS)
def test_every_objective_smooths_in_training_and_measures_without(name):
    plain, model, batch = made(name)
    smooth, _, _ = made(name, smoothing=0.3)
    model.eval()
    assert torch.equal(plain.loss(model, batch).total, smooth.loss(model, batch).total)
    model.train()
    assert not torch.equal(plain.loss(model, batch).total, smooth.loss(model, batch).total)


def test_none_is_what_it_was():
    """Bit for bit, and without a pass over the logits more."""
    objective, model, batch = made("causal", smoothing=0.0)
    model.train()
    logits = model(batch.inputs).logits
    wanted = -logits.log_softmax(-1).gather(-1, batch.targets[..., None]).squeeze(-1) * batch.weights
    assert objective.loss(model, batch).total.item() == pytest.approx(wanted.sum().item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_shares_that_make_no_sense(smoothing):
    with pytest.raises(RecipeError, match="smoothing: expected a number"):
        bound("causal", smoothing=smoothing)
