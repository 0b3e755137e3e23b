"""Exactness: what a step's gradient is does not depend on how it is cut, and a run's bytes not on where it was broken off."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.conftest import exact
from tests.train.test_loop import Interrupted, same, stop_after
from yanmo.core.data import Row
from yanmo.train.job import Verdict
from yanmo.train.loop import train
from yanmo.train.randomness import Moment, seeded
from yanmo.train.records.metrics import read
from yanmo.train.step import forward_of, update
from yanmo.train.writer import Writer


def gradients(job, micro):
    made = job()
    kept = []
    made.optimizer.register_step_pre_hook(lambda *_: kept.extend(p.grad.clone() for p in made.model.parameters()))
    made.clip = 1e9
    outcome = update(made, forward_of(made), micro, seeded(0, 0))
    return outcome, kept


@st.composite
def cuts(draw):
    """32 rows' lengths, which of their tokens are trained on, and two ways to cut them into micro-batches."""
    lengths = draw(st.lists(st.integers(2, 25), min_size=32, max_size=32))
    trained = [draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=n, max_size=n))) for n in lengths]

    def sizes():
        left, found = 32, []
        while left:
            size = draw(st.integers(1, left))
            found.append(size)
            left -= size
        return found

    return lengths, trained, sizes()


@settings(max_examples=12, deadline=None)
@given(case=cuts())
def test_however_32_rows_are_cut_the_gradient_is_one(case, job_of_session, shards):
    """1×32 = 4×8 = 32×1 = any cut: losses are normalised by the trained tokens of the whole step, not of a micro-batch."""
    lengths, trained, sizes = case
    tokens = shards.split("train").tokens
    rows = [Row(tokens[9 * i : 9 * i + n].tolist(), trained=[True] * n if mask is None else mask)
            for i, (n, mask) in enumerate(zip(lengths, trained))]  # fmt: skip
    if not any(any(row.trained[1:]) for row in rows):
        return
    objective = job_of_session().objective
    found = []
    for cut in ([32], [8] * 4, [1] * 32, sizes):
        starts = [sum(cut[:i]) for i in range(len(cut))]
        micro = [objective.collate(rows[start : start + size], torch.Generator()) for start, size in zip(starts, cut)]
        found.append(gradients(job_of_session, micro))
    (whole, want), *others = found
    for outcome, kept in others:
        assert outcome.loss == pytest.approx(whole.loss, rel=1e-5)
        assert outcome.norm == pytest.approx(whole.norm, rel=1e-4)
        for gradient, wanted in zip(kept, want):
            torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=3e-6)


def test_a_mean_over_micro_batches_would_not_do(job, shards):
    """The test above can fail: the usual mistake, each micro-batch divided by its own tokens, gives another gradient."""
    tokens = shards.split("train").tokens
    rows = [Row(tokens[7 * i : 7 * i + 3 + (5 * i) % 22].tolist()) for i in range(32)]
    made = job()
    micro = [made.objective.collate(rows[start : start + 8], torch.Generator()) for start in range(0, 32, 8)]
    _, want = gradients(job, micro)
    for batch in micro:
        loss = made.objective.loss(made.model, batch)
        (loss.total / batch.weight / len(micro)).backward()
    wrong = [p.grad for p in made.model.parameters()]
    assert max(float((a - b).norm() / b.norm()) for a, b in zip(wrong, want)) > 0.01


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("first", [3, 7])
def test_across_epochs_accumulation_and_a_change_of_workers(first, precision, job, weights):
    """8 rows in 4 micro-batches, several epochs; broken off with no row made ahead and gone on from with three steps' rows."""

    def made(name, ahead):
        return job(name, steps=12, rows=8, micro=2, precision=precision, checkpoint_every=2, prefetch=ahead)

    whole = made("whole", 0)
    state = train(whole)
    assert state.cursor[0] >= 1, "the rows of more than one epoch"
    broken = made("broken", 0)
    stop_after(broken, first)
    with pytest.raises(Interrupted):
        train(broken)
    again = made("broken", 3)
    train(again)
    assert same(weights(again.model), weights(whole.model))
    assert exact(whole.folder) == exact(again.folder)
    ends = [(j.folder / "checkpoints" / "step-00000012" / name).read_bytes() for j in (whole, again)
            for name in ("model.safetensors", "optimizer.safetensors")]  # fmt: skip
    assert ends[:2] == ends[2:]


def test_float16_keeps_its_scale_in_the_checkpoint(job, weights):
    """The scale is as large as it goes, overflows, is halved, and goes on from where it was."""

    def made(name):
        chosen = job(name, steps=10, precision="fp16", checkpoint_every=3)
        chosen.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-8, growth_interval=3)
        return chosen

    whole = made("whole")
    train(whole)
    lines = read(whole.folder / "metrics.jsonl")
    assert [line.get("skipped") for line in lines][:2] == ["overflow"] * 2, "2^40 is beyond float16"
    assert lines[0]["grad_norm"] is None
    assert lines[-1].get("skipped") is None
    assert len({line["scale"] for line in lines}) > 3
    broken = made("broken")
    stop_after(broken, 7)
    with pytest.raises(Interrupted):
        train(broken)
    again = made("broken")
    train(again)
    assert again.scaler.state_dict() == whole.scaler.state_dict()
    assert same(weights(again.model), weights(whole.model))


def test_float16_trains_as_well_as_float32(job):
    found = {}
    for form in ("fp32", "fp16"):
        made = job(form, steps=12, precision=form)
        train(made)
        found[form] = [line["loss"] for line in read(made.folder / "metrics.jsonl")]
        assert all(p.dtype == torch.float32 for p in made.model.parameters())
    assert found["fp16"] != found["fp32"]
    assert found["fp16"] == pytest.approx(found["fp32"], rel=0.02)


def test_a_moment_is_all_random_numbers():
    rng = torch.Generator().manual_seed(3)
    torch.manual_seed(4)
    moment = Moment(rng)
    first = torch.rand(3), torch.rand(3, generator=rng)
    moment.again()
    assert all(torch.equal(a, b) for a, b in zip(first, (torch.rand(3), torch.rand(3, generator=rng))))


def test_the_checkpoint_comes_before_its_validation(job, monkeypatch):
    """What happens in a validation costs no step: when it begins, the step's checkpoint is written or being written."""
    made, seen = job(steps=4, validate_every=2), []
    begun = []
    inner = Writer.save
    monkeypatch.setattr(Writer, "save", lambda self, held, *rest: (begun.append(held.name), inner(self, held, *rest))[1])

    def validate():
        seen.append(list(begun))
        return Verdict((1.0,), {"bits_per_byte": 1.0})

    made.validate = validate
    train(made)
    assert seen == [["step-00000002"], ["step-00000002", "step-00000004"]]
