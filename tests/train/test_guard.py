"""What is not finite is found: the layer, the dtype, the likely cause, the rows and the documents; spikes are passed over."""

import pytest
import torch

from tests.train.test_loop import Interrupted, same, stop_after
from yanmo.core import files
from yanmo.core.errors import TrainingError
from yanmo.corpus import documents
from yanmo.train.diagnosis import diagnose
from yanmo.train.guard import Guard, bound
from yanmo.train.loop import train
from yanmo.train.randomness import seeded
from yanmo.train.records.metrics import read
from yanmo.train.settings import Spikes
from yanmo.train.step import Outcome


class Breaks:
    """Makes a layer do `what` to its output, once it has been called so often in training."""

    def __init__(self, module, what, after):
        self.what, self.after, self.calls = what, after, 0
        self.handle = module.register_forward_hook(self.see)

    def see(self, module, inputs, output):
        self.calls += module.training
        return self.what(output) if self.calls > self.after else output


class BadSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        return slope / 0.0


def fails(made):
    with pytest.raises(TrainingError) as raised:
        train(made)
    return files.read_json(made.folder / "failure.json"), str(raised.value)


CASES = {
    "nan": (lambda x: x * float("nan"), "output", "a division by 0, the log of 0", "look at that layer"),
    "inf": (lambda x: x.log().clamp(max=0) - torch.log(torch.zeros(())), "output", "the log of 0", "look at that layer"),
    "slope": (BadSlope.apply, "gradient", "the loss is finite, its slope is not", "look at that layer"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_first_layer_that_is_not_finite_is_named(case, job):
    what, first, cause, remedy = CASES[case]
    made = job(steps=8, rows=8, micro=4, checkpoint_every=3)
    Breaks(made.model.stack.blocks[1].mlp, what, 2 * 4)  # from step 5 on
    record, said = fails(made)
    assert record["step"] == 5
    assert record["first"] == first
    assert record["layer"] == ("stack.blocks.1.mlp.down" if case == "slope" else "stack.blocks.1.mlp")
    assert record["dtype"] == "float32"
    assert cause in record["cause"]
    assert cause in said
    assert remedy in said
    assert record["layer"] in said
    assert len(record["losses_before"]) == 4
    assert record["last_good_step"] == 4
    assert sorted(p.name for p in (made.folder / "checkpoints").iterdir())[-1] == "step-00000004", "of the step before, not of step 3"
    assert said.count("\n") == 0


def test_it_goes_on_from_the_last_good_state(job, weights):
    whole = job("whole", steps=8)
    train(whole)
    made = job("made", steps=8, checkpoint_every=3)
    broken = Breaks(made.model.stack.blocks[1].mlp, lambda x: x * float("nan"), 2 * 4)
    fails(made)
    broken.handle.remove()
    again = job("made", steps=8)
    taken = []
    inner = again.batches.take
    again.batches.take = lambda cursor, rng: (taken.append(cursor), inner(cursor, rng))[1]
    train(again)
    assert len(taken) == 4, "steps 5 to 8 are left"
    assert same(weights(again.model), weights(whole.model))


def test_rows_are_walked_back_to_their_documents(job, shards, tmp_path):
    """One row alone is not finite: it, its documents, and where those were read are named."""
    made = job(steps=4, rows=8, micro=8)
    healthy, bad = made.objective.loss, made.batches.take((0, 0), seeded(0, 0))[0][0].items[3]

    class Poisoned:
        def __getattr__(self, name):
            return getattr(healthy.__self__, name)

        def loss(self, model, batch):
            found = healthy(model, batch)
            if bad in batch.items:
                at = batch.items.index(bad)
                hurt = torch.zeros(len(batch.items))
                hurt[at] = float("nan")
                found.rows, found.total = found.rows + hurt, found.total + hurt.sum()
            return found

    objective, made.objective = made.objective, Poisoned()
    made.origins = lambda items: documents.origins(corpus, made.batches.documents(items))
    corpus = tmp_path / "corpus"
    write_origins(corpus, shards.split("train").documents["id"].tolist())
    record, said = fails(made)
    assert record["first"] == "loss"
    assert "every layer is finite, the loss is not" in said
    assert record["rows_alone_not_finite"] == [bad]
    wanted = made.batches.documents([bad])
    assert 1 <= len(wanted) < len(made.batches.documents(record["items"]))
    assert [row["id"] for row in record["documents"]] == wanted
    assert record["documents"][0] == {"id": wanted[0], "file": "data/文.jsonl", "member": None, "start": int(wanted[0][1:]) * 100,
                                      "end": int(wanted[0][1:]) * 100 + 90}  # fmt: skip
    assert made.batches.describe([bad]) in said
    assert objective is not made.objective


def write_origins(corpus, ids):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    (corpus / "documents").mkdir(parents=True)
    numbers = [int(name[1:]) for name in ids]
    parquet.write_table(pa.table({"id": ids, "file": ["data/文.jsonl"] * len(ids), "member": pa.array([None] * len(ids), pa.string()),
                                  "start": [100 * n for n in numbers], "end": [100 * n + 90 for n in numbers],
                                  "split": ["train"] * len(ids)}), corpus / "documents" / "0.parquet")  # fmt: skip


def test_weights_that_are_not_finite_are_named(job):
    made = job(steps=4)
    with torch.no_grad():
        made.model.stack.blocks[0].attention.out.weight[0, 0] = float("inf")
    record, said = fails(made)
    assert (record["step"], record["first"], record["layer"]) == (1, "weights", "stack.blocks.0.attention.out.weight")
    assert "the model that it started from is damaged" in said
    assert not list((made.folder / "checkpoints").iterdir()), "weights that are not finite are no good state"


def test_a_learning_rate_that_is_too_high_is_named(job):
    """A real divergence: values grow until they overflow."""
    made = job(optimizer={"type": "adamw", "lr": 3e36, "weight_decay": 0.0}, steps=40)
    record, said = fails(made)
    assert "train.optim.lr" in said
    assert record["first"] in ("output", "weights", "gradient", "loss")
    assert record["step"] > 1


def test_float16_overflow_is_named(job):
    """Values beyond 65504 in a layer: float16 is the cause, and bf16 the remedy."""
    made = job(precision="fp16", steps=4)
    with torch.no_grad():
        made.model.stack.blocks[0].mlp.down.weight.mul_(1e7)
    record, said = fails(made)
    assert record["dtype"] == "float16"
    assert record["first"] == "output"
    assert record["layer"].startswith("stack.blocks.0.mlp")
    assert "in float32 the same step is finite: float16 holds nothing above 65504" in said
    assert "set train.precision to bf16 or fp32" in said
    train(job("sound", precision="bf16", steps=2))


def test_what_does_not_come_back_is_the_machine(job):
    """The same step, done again, is finite."""
    made = job(steps=4)
    healthy, calls = made.objective.loss, []

    class Once:
        def __getattr__(self, name):
            return getattr(healthy.__self__, name)

        def loss(self, model, batch):
            calls.append(1)
            found = healthy(model, batch)
            if len(calls) == 5:
                found.total = found.total * float("nan")
            return found

    made.objective = Once()
    record, said = fails(made)
    assert record["first"] == "nothing"
    assert "finite when it is done again" in said


def test_the_diagnosis_sees_the_dropout_of_the_step(job):
    """It is done from the same random numbers, so that what depends on dropout comes back."""
    made = job(steps=4)
    found = []

    def look(x):
        dropped = torch.nn.functional.dropout(x, 0.5)
        found.append((dropped == 0).sum().item())
        return dropped * float("nan") if breaks.calls in (3, 5) else dropped

    breaks = Breaks(made.model.stack.blocks[0].mlp, look, 0)
    record, _ = fails(made)
    assert record["layer"] == "stack.blocks.0.mlp"
    assert found[2] == found[4], "the micro-batch of the step, and its repetition"


def test_hooks_are_gone_and_no_gradient_is_left(job):
    made = job()
    rng = seeded(0, 0)
    micro, _ = made.batches.take((0, 0), rng)
    found = diagnose(made, micro, rng, False)
    assert found.what == "nothing"
    assert not any(module._forward_hooks for module in made.model.modules())
    assert all(p.grad is None for p in made.model.parameters())
    assert 0 < found.largest < 100


# ------------------------------------------------------------------------------------------------------------- spikes


def test_the_bound_is_robust():
    """One outlier among the values moves it hardly; a few percent of scatter are always allowed."""
    values = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0, 2.02, 1.98]
    assert bound(values, 8) == pytest.approx(bound([*values[:-1], 1000.0], 8), rel=0.2)
    assert bound([2.0] * 8, 8) == pytest.approx(2.0 + 8 * 0.02 * 2.0)


def test_no_window_no_spike():
    guard = Guard(Spikes(window=8))
    for _ in range(7):
        guard.losses.append(1.0)
        guard.norms.append(1.0)
    assert not guard.spikes(Outcome(100.0, 1.0))
    guard.losses.append(1.0)
    guard.norms.append(1.0)
    assert guard.spikes(Outcome(100.0, 1.0))
    assert guard.spikes(Outcome(1.0, 100.0)), "a norm alone is enough"
    assert not guard.spikes(Outcome(1.1, 1.1))
    assert not Guard().spikes(Outcome(1e9, 1e9)), "who does not ask for it has every step"


def spiky(job, name, at, **settings):
    """A training whose loss is a hundredfold at these steps (from 1)."""
    made = job(name, guard=Guard(Spikes(window=8, deviations=10.0, in_a_row=3)), rows=8, micro=8, **settings)
    healthy = made.objective.loss

    class Spiky:
        calls = 0

        def __getattr__(self, name):
            return getattr(healthy.__self__, name)

        def loss(self, model, batch):
            self.calls += 1
            found = healthy(model, batch)
            if self.calls in at:
                found.total = found.total * 100.0
            return found

    made.objective = Spiky()
    return made


def test_a_spike_moves_nothing_is_counted_and_shown(job, weights, capsys):
    from yanmo.core.console import Console

    made = spiky(job, "a", {12}, steps=14, checkpoint_every=11)
    made.console = Console()
    states = []
    inner = made.batches.take

    def take(cursor, rng):
        states.append(weights(made.model))
        return inner(cursor, rng)

    made.batches.take = take
    train(made)
    lines = read(made.folder / "metrics.jsonl")
    assert [line["step"] for line in lines if "skipped" in line] == [12]
    assert lines[11]["skipped"] == "spike"
    assert same(states[11], states[12])
    assert not same(states[12], states[13])
    said = capsys.readouterr().err
    assert "step 12 passed over" in said
    assert "1 of 14 steps were passed over" in said


@pytest.mark.parametrize("first", [9, 12, 13])
def test_spikes_are_passed_over_alike_after_a_kill(first, job, weights):
    whole = spiky(job, "whole", {12}, steps=16, checkpoint_every=4)
    train(whole)
    broken = spiky(job, "broken", {12}, steps=16, checkpoint_every=4)
    stop_after(broken, first)
    with pytest.raises(Interrupted):
        train(broken)
    again = spiky(job, "broken", {12 - first // 4 * 4}, steps=16, checkpoint_every=4)
    train(again)
    assert again.guard.skipped == whole.guard.skipped == 1
    assert again.guard.state() == whole.guard.state()
    assert same(weights(again.model), weights(whole.model))


def test_what_stays_high_is_no_spike(job):
    made = spiky(job, "a", set(range(10, 30)), steps=20, checkpoint_every=5)
    with pytest.raises(TrainingError, match=r"step 12: expected a spike that passes, got 3 steps in a row .* lower the learning rate"):
        train(made)
