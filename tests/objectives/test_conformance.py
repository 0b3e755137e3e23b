"""What every objective of the registry must do: a new line in the table is tested at once."""

import pytest
import torch

from yanmo.core.data import Row
from yanmo.core.registry import create, names
from yanmo.models.classifier import Classifier
from yanmo.objectives.base import Context, Objective
from yanmo.text.characters import CharacterTokenizer

TEXTS = ["Call me Ishmael. 🐋", "话说天下大势，分久必合，合久必分。"]


@pytest.fixture(scope="module")
def tokenizer():
    return CharacterTokenizer(min_count=1).train(TEXTS)


@pytest.fixture(params=names("objective"))
def bound(request, tokenizer):
    return create("objective", request.param).bind(Context(tokenizer, ["a", "b"]))


@pytest.fixture
def model(bound, tokenizer):
    rng = torch.Generator().manual_seed(0)
    made = create("model", {"type": "transformer", "depth": 1, "width": 32, "heads": 1}).build(tokenizer, rng, 64)
    if bound.type == "supervised":
        made = Classifier(made, 2)
        made.initialise(rng)
    return made


@pytest.fixture
def batch(bound, tokenizer):
    rows = [Row([1, *tokenizer.encode(text)], label=i, example=f"e{i}") for i, text in enumerate(TEXTS)]
    return bound.collate(rows, torch.Generator().manual_seed(0))


def test_binding_makes_a_new_one_with_the_same_settings(bound):
    assert isinstance(bound, Objective)
    assert bound.model_dump() == create("objective", bound.type).model_dump()


def test_a_batch_names_its_rows_and_has_a_weight(batch):
    assert batch.items == ["e0", "e1"]
    assert batch.weight > 0
    assert batch.inputs.tokens.dtype == torch.int64


def test_collating_depends_on_rows_and_generator_alone(bound, tokenizer):
    rows = [Row([1, *tokenizer.encode(text)], label=0) for text in TEXTS]
    first, second = (bound.collate(rows, torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(first.inputs.tokens, second.inputs.tokens)
    assert first.weight == second.weight


def test_a_batch_moves_to_a_device_whole(batch):
    moved = batch.to("meta")
    assert moved.inputs.tokens.is_meta
    for name in ("targets", "weights", "labels"):
        value = getattr(moved, name)
        assert value is None or value.is_meta
    assert moved.items == batch.items


def test_the_loss_is_a_sum_with_its_weight_and_a_mean_for_each_row(bound, model, batch):
    loss = bound.loss(model, batch)
    assert loss.total.ndim == 0
    assert loss.total.requires_grad
    assert float(loss.weight) == pytest.approx(batch.weight)
    assert loss.rows.shape == (2,)
    assert not loss.rows.requires_grad
    each = batch.weights.sum(1) if batch.weights is not None else torch.ones(2)
    assert float((loss.rows * each).sum()) == pytest.approx(float(loss.total.detach()), rel=1e-5)


def test_two_examples_are_learned_by_heart(bound, model, batch):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = last = 0.0
    for step in range(120):
        loss = bound.loss(model, batch)
        last = float(loss.total.detach()) / batch.weight
        first = first if step else last
        (loss.total / batch.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert last < 0.05 * first


def test_expanding_gives_batches(bound, model, batch):
    assert [part.weight for part in bound.expand(model, batch, torch.Generator())] == [batch.weight]
