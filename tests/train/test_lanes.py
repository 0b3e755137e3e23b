"""Truncated back-propagation through time: rows that go on, a state that is carried, and exact resume."""

import pytest
import torch

from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.objectives.base import Context
from yanmo.train import checkpoint
from yanmo.train.batches import LaneBatches
from yanmo.train.job import Job
from yanmo.train.loop import train
from yanmo.train.randomness import seeded
from yanmo.train.step import Aside, forward_of, update

from .conftest import CONTEXT
from .test_loop import Interrupted, same, stop_after

RNG = torch.Generator()


def causal(tokenizer, **settings):
    return create("objective", {"type": "causal", "carry": True, **settings}).bind(Context(tokenizer))


@pytest.fixture
def lane_job(shards, tokenizer, tmp_path):
    def make(name="a", model="lstm", rows=4, micro=4, steps=9, context=CONTEXT, isolate=True, **settings):
        built = create("model", {"type": model, "depth": 1, "width": 32}).build(tokenizer, torch.Generator().manual_seed(1))
        objective = causal(tokenizer, isolate=isolate)
        objective.check(built)
        return Job(
            model=built, objective=objective, batches=LaneBatches(shards.split("train"), objective, context, rows, micro),
            optimizer=create("optimizer", {"type": "adamw", "lr": 3e-3}).make(built), schedule=create("schedule", "wsd"), steps=steps,
            folder=tmp_path / name, seed=5, console=Console(quiet=True), **settings,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("rows", [1, 3, 4, 7])
def test_a_row_goes_on_where_the_one_before_it_ended(shards, tokenizer, rows):
    tokens = shards.split("train").tokens
    batches = LaneBatches(shards.split("train"), causal(tokenizer), CONTEXT, rows, 2)
    lanes, seen, cursor = [[] for _ in range(rows)], [], (0, 0)
    while cursor[0] == 0 and cursor[1] < batches.steps:
        made, cursor = batches.take(cursor, RNG)
        items = [int(item) for batch in made for item in batch.items]
        fresh = torch.cat([batch.fresh for batch in made])
        seen += items
        for lane, (item, begins) in enumerate(zip(items, fresh)):
            if lanes[lane]:
                assert item == (lanes[lane][-1] + 1) % batches.count
            at_border = bool(tokens[item * CONTEXT] == tokenizer.eos_id)
            assert bool(begins) == (not lanes[lane] or item == 0 or at_border)
            lanes[lane].append(item)
    assert set(seen) == set(range(batches.count))
    assert len(seen) - batches.count < rows
    again, _ = LaneBatches(shards.split("train"), causal(tokenizer), CONTEXT, rows, 2).take((0, 3), RNG)  # from any cursor
    assert [int(item) for batch in again for item in batch.items] == [lane[3] for lane in lanes]


def test_the_loss_of_rows_in_lanes_is_that_of_one_long_row(shards, tokenizer, lane_job):
    """Read stretch by stretch with the state carried, a text is as probable as read in one go, whatever the context."""
    job = lane_job(rows=1, micro=1)
    split = shards.split("train")
    whole = torch.from_numpy(split.tokens[: 5 * CONTEXT + 1].astype("int64"))[None]
    border = tokenizer.eos_id
    with torch.no_grad():
        inputs = Inputs(whole[:, :-1], documents=(whole[:, :-1] == border).cumsum(1))
        want = -job.model.logprobs(inputs, whole[:, 1:])[0]
        carried, cursor, found = None, (0, 0), []
        for _ in range(5):
            (batch,), cursor = job.batches.take(cursor, RNG)
            batch.carried = carried
            loss = job.objective.loss(job.model, batch)
            carried = loss.carried
            found.append(loss.total)
    torch.testing.assert_close(torch.stack(found), want.view(5, CONTEXT).sum(1), rtol=1e-5, atol=1e-4)


def test_without_isolation_the_state_crosses_borders(tokenizer, lane_job):
    job = lane_job(rows=1, micro=1, isolate=False)
    (batch,), _ = job.batches.take((0, 1), RNG)
    assert batch.fresh.tolist() == [False]
    batch.inputs.tokens[:, 0] = tokenizer.eos_id
    state = {name: torch.ones(1, *spec.shape) for name, spec in job.model.state().items()}
    losses = []
    for carried in (None, state):
        batch.carried = carried
        losses.append(float(job.objective.loss(job.model, batch).total.detach()))
    assert losses[0] != losses[1]
    batch.fresh = torch.tensor([True])
    assert float(job.objective.loss(job.model, batch).total.detach()) == losses[0]


def test_no_gradient_crosses_a_rows_beginning(lane_job):
    job = lane_job(rows=2, micro=2)
    (batch,), _ = job.batches.take((0, 0), RNG)
    loss = job.objective.loss(job.model, batch)
    assert set(loss.carried) == set(job.model.state())
    assert all(not value.requires_grad and value.abs().max() > 0 for value in loss.carried.values())


def test_micro_batches_carry_what_the_whole_batch_does(lane_job):
    found = []
    for micro in (4, 2, 1):
        job = lane_job(rows=4, micro=micro)
        forward, carried, cursor = forward_of(job), None, (0, 0)
        for step in range(3):
            made, cursor = job.batches.take(cursor, RNG)
            aside = Aside(carried)
            loss = update(job, forward, made, seeded(0, step), aside).loss
            carried = aside.carried()
        found.append((loss, carried))
    for loss, carried in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-4)
        for name, value in carried.items():
            torch.testing.assert_close(value, found[0][1][name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", ["lstm", "gru", "rnn"])
def test_stopped_and_resumed_it_ends_the_same(model, lane_job, weights):
    whole = lane_job("whole", model=model)
    train(whole)
    assert whole.batches.steps < whole.steps * 4  # more than one epoch would be read
    for first in (1, 5):
        broken = lane_job(f"broken{first}", model=model, checkpoint_every=1)
        stop_after(broken, first)
        with pytest.raises(Interrupted):
            train(broken)
        again = lane_job(f"broken{first}", model=model, checkpoint_every=4)
        train(again)
        assert same(weights(again.model), weights(whole.model))
    path = checkpoint.newest(whole.folder / "checkpoints")
    assert set(checkpoint.carried(path, torch.device("cpu"))) == set(whole.model.state())


def test_carrying_is_not_the_same_as_not_carrying(lane_job, weights):
    carried, plain = lane_job("carried"), lane_job("plain")
    inner = plain.batches.take

    def forgetful(cursor, rng):
        made, cursor = inner(cursor, rng)
        for batch in made:
            batch.fresh = torch.ones_like(batch.fresh)
        return made, cursor

    plain.batches.take = forgetful
    train(carried)
    train(plain)
    assert not same(weights(carried.model), weights(plain.model))


def test_a_model_that_remembers_every_token_is_refused(tokenizer):
    model = create("model", {"type": "transformer", "depth": 1, "width": 32, "heads": 1}).build(tokenizer, RNG, CONTEXT)
    with pytest.raises(RequestError, match="carry: expected a recurrent model"):
        causal(tokenizer).check(model)
