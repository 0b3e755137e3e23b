"""Classification: cross-entropy over a classifier, padding without effect, two examples learned by heart."""

import pytest
import torch
from torch.nn import functional as F

from yanmo.core.data import Row
from yanmo.core.registry import create
from yanmo.models.classifier import Classifier
from yanmo.objectives.base import Context
from yanmo.text.characters import CharacterTokenizer

TEXTS = ["turn on the light 💡", "把灯打开", "café, s'il vous plaît"]
SMALL = {"transformer": {"depth": 2, "width": 32, "heads": 2}, "lstm": {"depth": 1, "width": 32}}


@pytest.fixture(scope="module")
def tokenizer():
    return CharacterTokenizer(min_count=1).train(TEXTS)


@pytest.fixture
def objective(tokenizer):
    return create("objective", "supervised").bind(Context(tokenizer, ["a", "b", "c"]))


@pytest.fixture(params=SMALL)
def model(request, tokenizer):
    rng = torch.Generator().manual_seed(0)
    backbone = create("model", {"type": request.param, **SMALL[request.param]}).build(tokenizer, rng, 64)
    made = Classifier(backbone, 3)
    made.initialise(rng)
    return made


@pytest.fixture(scope="module")
def rows(tokenizer):
    return [Row([1, *tokenizer.encode(text)], label=i, example=f"e{i}") for i, text in enumerate(TEXTS)]


def test_the_loss_is_the_cross_entropy_of_the_labels(objective, model, rows):
    batch = objective.collate(rows, torch.Generator())
    found = objective.loss(model, batch)
    want = F.cross_entropy(model(batch.inputs), torch.tensor([0, 1, 2]), reduction="none")
    assert float(found.total.detach()) == pytest.approx(float(want.detach().sum()), rel=1e-6)
    torch.testing.assert_close(found.rows, want.detach())
    assert float(found.weight) == batch.weight == 3
    assert batch.items == ["e0", "e1", "e2"]


def test_a_rows_loss_does_not_depend_on_its_company(objective, model, rows):
    together = objective.loss(model, objective.collate(rows, torch.Generator())).rows
    alone = torch.cat([objective.loss(model, objective.collate([row], torch.Generator())).rows for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_it_learns_three_examples_by_heart(objective, model, rows):
    batch = objective.collate(rows, torch.Generator())
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(80):
        loss = objective.loss(model, batch)
        (loss.total / batch.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.total.detach()) / 3)
    assert losses[0] > 0.8
    assert losses[-1] < 0.02
    assert model(batch.inputs).argmax(1).tolist() == [0, 1, 2]


def test_smoothing_moves_the_target(tokenizer, model, rows):
    smooth = create("objective", {"type": "supervised", "smoothing": 0.3}).bind(Context(tokenizer))
    batch = smooth.collate(rows, torch.Generator())
    logs = model(batch.inputs).log_softmax(-1)
    want = -(0.7 * logs[range(3), range(3)] + 0.3 * logs.mean(1))
    torch.testing.assert_close(smooth.loss(model, batch).rows, want.detach(), rtol=1e-5, atol=1e-6)


def test_rows_without_labels_can_be_collated_for_prediction(objective):
    assert objective.collate([Row([1, 2, 3])], torch.Generator()).labels is None
