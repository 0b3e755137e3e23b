"""Weights of labels and focal loss, against their definitions and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from tests.inference.tiny import tokenizer
from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.objectives.balance import weights
from yanmo.objectives.base import Context

SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [-1.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
LABELS = [0, 1, 1, 2]


class Fixed(torch.nn.Module):
    """Scores that are parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = torch.nn.Parameter(SCORES.clone())

    def forward(self, inputs: Inputs) -> torch.Tensor:
        return self.scores[: len(inputs.tokens)]


def loss(name: str = "supervised", labels=LABELS, counts=(6, 3, 1), **changes):
    objective = create("objective", {"type": name, **changes}).bind(Context(tokenizer(), ["a", "b", "c"], counts=list(counts)))
    model = Fixed().eval()
    batch = objective.collate([Row([1, 2, 3][: i % 3 + 1], label=label) for i, label in enumerate(labels)], torch.Generator())
    found = objective.loss(model, batch)
    found.total.backward()
    return found, model.scores.grad


def test_inverse_weights_are_scikit_learns_and_effective_ones_cuis():
    counts = [500, 40, 3]
    rows = np.repeat(np.arange(3), counts)
    np.testing.assert_allclose(weights(counts, "inverse"), compute_class_weight("balanced", classes=np.arange(3), y=rows), rtol=1e-6)
    effective = np.array([(1 - 0.99) / (1 - 0.99**n) for n in counts])
    np.testing.assert_allclose(weights(counts, "effective", 0.99), effective * sum(counts) / (effective * counts).sum(), rtol=1e-6)
    for balance in ("inverse", "effective"):
        assert (weights(counts, balance) * counts).sum() == pytest.approx(sum(counts))  # the loss keeps its size
        assert weights([5, 0], balance).tolist() == [1.0, 0.0]
    np.testing.assert_allclose(weights(counts, "effective", 1 - 1e-9), weights(counts, "inverse"), rtol=1e-4)


def test_balanced_loss_is_the_weighted_cross_entropy():
    found, _ = loss(balance="inverse")
    weight = torch.from_numpy(weights([6, 3, 1], "inverse"))
    expected = F.cross_entropy(SCORES, torch.tensor(LABELS), weight=weight, reduction="none")
    torch.testing.assert_close(found.rows, expected)
    assert float(found.weight) == 4.0
    with pytest.raises(RequestError, match=r"objective\.balance: expected training rows for every label, got none"):
        loss(balance="inverse", counts=())


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_is_lins_with_its_own_gradient(gamma):
    found, slope = loss(focal=gamma)
    share = SCORES.softmax(-1).gather(-1, torch.tensor(LABELS)[:, None])[:, 0]
    torch.testing.assert_close(found.rows, -((1 - share) ** gamma) * share.log())
    scores = SCORES.double().clone().requires_grad_()
    p = scores.softmax(-1).gather(-1, torch.tensor(LABELS)[:, None])[:, 0]
    (-((1 - p) ** gamma) * p.log()).sum().backward()
    torch.testing.assert_close(slope.double(), scores.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss(focal=0.0)[0].rows, F.cross_entropy(SCORES, torch.tensor(LABELS), reduction="none"))


def test_focal_loss_of_a_certain_answer_has_a_finite_slope():
    objective = create("objective", {"type": "supervised", "focal": 0.5}).bind(Context(tokenizer()))
    model = Fixed()
    with torch.no_grad():
        model.scores.copy_(torch.tensor([[300.0, 0, 0], [0, 300.0, 0], [300.0, 0, 0], [0, 0, 0]]))
    objective.loss(model, objective.collate([Row([1], label=label) for label in (0, 1, 1, 2)], torch.Generator())).total.backward()
    assert torch.isfinite(model.scores.grad).all()


def test_several_labels_are_judged_each_for_itself():
    several = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    wanted = torch.tensor(several)
    found, _ = loss("multi_label", several)
    torch.testing.assert_close(found.rows, F.binary_cross_entropy_with_logits(SCORES, wanted, reduction="none").mean(-1))
    weight = torch.from_numpy(weights([6, 3, 1], "inverse"))
    found, _ = loss("multi_label", several, balance="inverse")
    expected = F.binary_cross_entropy_with_logits(SCORES, wanted, pos_weight=weight, reduction="none").mean(-1)
    torch.testing.assert_close(found.rows, expected)
    found, _ = loss("multi_label", several, focal=2.0)
    share = torch.where(wanted > 0, SCORES.sigmoid(), 1 - SCORES.sigmoid())
    torch.testing.assert_close(found.rows, (-((1 - share) ** 2) * share.log()).mean(-1))


def test_rows_of_pairs_bring_their_types():
    objective = create("objective", {"type": "supervised"}).bind(Context(tokenizer()))
    batch = objective.collate([Row([5, 6, 7], label=0, types=[0, 1, 1]), Row([5], label=1)], torch.Generator())
    assert batch.inputs.types.tolist() == [[0, 1, 1], [0, 0, 0]]
    assert objective.collate([Row([5], label=1)], torch.Generator()).inputs.types is None
