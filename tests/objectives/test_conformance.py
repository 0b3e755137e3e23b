"""What every objective of the registry must do: a new line in the table is tested at once."""

import pytest
import torch

from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.objectives.base import Context, Objective

from .tiny import ROWS, build, headed, row, tokenizer

TEXTS = ["Call me Ishmael. 🐋 Some years ago.", "话说天下大势，分久必合。合久必分。"]


@pytest.fixture(params=ROWS)
def bound(request):
    return create("objective", request.param).bind(Context(tokenizer(), ["a", "b"]))


@pytest.fixture
def model(bound):
    return headed(bound.type)


@pytest.fixture
def rows(bound):
    return [row(bound.type, [1, *tokenizer().encode(text)], i, f"e{i}") for i, text in enumerate(TEXTS)]


@pytest.fixture
def batch(bound, rows):
    return bound.collate(rows, torch.Generator().manual_seed(0))


def tensors(inputs):
    found = {}
    for name, value in vars(inputs).items():
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif value is not None:
            found |= {f"{name}.{key}": tensor for key, tensor in tensors(value).items()}
    return found


def test_binding_makes_a_new_one_with_the_same_settings(bound):
    assert isinstance(bound, Objective)
    assert bound.model_dump() == create("objective", bound.type).model_dump()


def test_a_batch_names_its_rows_and_has_a_weight(batch):
    assert batch.items == ["e0", "e1"]
    assert batch.weight > 0
    assert batch.inputs.tokens.dtype == torch.int64


def test_collating_depends_on_rows_and_generator_alone(bound, rows):
    first, second = (bound.collate(rows, torch.Generator().manual_seed(9)) for _ in range(2))
    assert tensors(first.inputs).keys() == tensors(second.inputs).keys()
    for name, value in tensors(first.inputs).items():
        assert torch.equal(value, tensors(second.inputs)[name])
    for name in ("targets", "weights", "labels"):
        one, two = getattr(first, name), getattr(second, name)
        assert (one is None and two is None) or torch.equal(one, two)


def test_a_row_does_not_depend_on_the_micro_batch_it_is_in(bound, rows):
    """Its random numbers are its own, whatever a step's rows are divided into."""
    together = bound.collate(rows, torch.Generator().manual_seed(4))
    rng = torch.Generator().manual_seed(4)
    for index, one in enumerate(rows):
        alone = bound.collate([one], rng)
        length = alone.inputs.tokens.shape[1]
        assert torch.equal(alone.inputs.tokens[0], together.inputs.tokens[index, :length])
        if alone.weights is not None:
            assert torch.equal(alone.weights[0], together.weights[index, : alone.weights.shape[1]])


def test_padding_is_no_target_and_the_mask_knows_it(bound, rows):
    batch = bound.collate([rows[0], row(bound.type, rows[1].tokens[:9], 1)], torch.Generator().manual_seed(1))
    mask = batch.inputs.mask
    assert mask is not None
    assert (mask[:, 1:] <= mask[:, :-1]).all()
    if batch.weights is not None:
        assert (batch.weights * ~mask == 0).all()
    if not bound.overlap:  # a last token that is only a target stands there too
        assert (batch.inputs.tokens[~mask] == tokenizer().pad_id).all()


def test_a_batch_moves_to_a_device_whole(batch):
    moved = batch.to("meta")
    assert all(value.is_meta for value in tensors(moved.inputs).values())
    assert len(tensors(moved.inputs)) == len(tensors(batch.inputs))
    for name in ("targets", "weights", "labels"):
        value = getattr(moved, name)
        assert value is None or value.is_meta
    assert moved.items == batch.items


def test_the_loss_is_a_sum_with_its_weight_and_a_mean_for_each_row(bound, model, batch):
    bound.check(getattr(model, "backbone", model))
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


def test_a_row_of_the_stream_fits_the_context(bound, rows):
    """What `stretch` allows, `collate` makes no longer than the context."""
    stream = (rows[0].tokens + rows[1].tokens) * 8
    for context in (16, 33, 64):
        length = bound.stretch(context) + bound.overlap
        for start in range(0, 40, 5):
            batch = bound.collate([row(bound.type, stream[start : start + length], 0)], torch.Generator().manual_seed(start))
            longest = [batch.inputs.tokens.shape[1]]
            longest += [batch.inputs.source.tokens.shape[1]] if batch.inputs.source is not None else []
            assert max(longest) <= max(context, 0 if bound.type != "supervised" else length)


def test_a_model_of_another_kind_is_refused(bound):
    wrong = "masked" if "masked" not in bound.kinds else "causal"
    if bound.kinds:
        with pytest.raises(RequestError, match="a model of the kind"):
            bound.check(build(wrong))
