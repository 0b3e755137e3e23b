"""The loop: accumulation, exact resume, validation, early stopping, and what can go wrong."""

import json
import os
import signal

import pytest
import torch

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.data import Row
from yanmo.core.errors import TrainingError
from yanmo.core.registry import names
from yanmo.core.stopped import Stopped
from yanmo.train.job import Verdict
from yanmo.train.loop import train
from yanmo.train.machine.gauge import TIMED
from yanmo.train.randomness import seeded
from yanmo.train.records.metrics import read
from yanmo.train.step import forward_of, update

MODELS = ["transformer", "lstm"]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("optimizer", names("optimizer"))
@pytest.mark.parametrize("model", MODELS)
def test_one_batch_of_32_is_4_of_8_and_32_of_1(model, optimizer, job, shards):
    """Micro-batches are normalised by the whole batch's tokens, however unlike their lengths are."""
    tokens = shards.split("train").tokens
    rows = [Row(tokens[7 * i : 7 * i + 3 + (5 * i) % 22].tolist()) for i in range(32)]
    found = []
    for size in (32, 8, 1):
        made = job(model=model, optimizer=optimizer)
        micro = [made.objective.collate(rows[start : start + size], torch.Generator()) for start in range(0, 32, size)]
        assert len({batch.weight for batch in micro}) > 1 or size == 32
        kept = []
        made.optimizer.register_step_pre_hook(lambda *_, made=made, kept=kept: kept.extend(p.grad.clone() for p in made.model.parameters()))
        made.clip = 1e9
        outcome = update(made, forward_of(made), micro, seeded(0, 0))
        found.append((outcome.loss, outcome.norm, kept))
    for loss, norm, kept in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert norm == pytest.approx(found[0][1], rel=1e-4)
        for gradient, want in zip(kept, found[0][2]):
            torch.testing.assert_close(gradient, want, rtol=1e-3, atol=2e-6)


def test_the_gradient_is_clipped_to_its_norm(job):
    made = job(clip=0.01)
    kept = []
    made.optimizer.register_step_pre_hook(lambda *_: kept.__setitem__(slice(None), [p.grad.clone() for p in made.model.parameters()]))
    norm = update(made, forward_of(made), made.batches.take((0, 0), seeded(0, 0))[0], seeded(0, 0)).norm
    assert norm > 0.1
    assert float(torch.nn.utils.get_total_norm(kept)) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("optimizer", names("optimizer"))
@pytest.mark.parametrize("model", MODELS)
def test_stopped_and_resumed_at_any_step_it_ends_the_same(model, optimizer, job, weights):
    whole = job("whole", model=model, optimizer=optimizer, steps=11)
    train(whole)
    for first in (1, 4, 10):
        broken = job(f"broken{first}", model=model, optimizer=optimizer, steps=11, checkpoint_every=1)
        stop_after(broken, first)
        with pytest.raises(Interrupted):
            train(broken)
        again = job(f"broken{first}", model=model, optimizer=optimizer, steps=11, checkpoint_every=3)
        state = train(again)
        assert state.step == 11
        assert same(weights(again.model), weights(whole.model))
        lines = [read(j.folder / "metrics.jsonl") for j in (whole, again)]
        strip = [[{k: v for k, v in line.items() if k not in TIMED} for line in found] for found in lines]
        assert strip[0] == strip[1]


class Interrupted(Exception):
    pass


def stop_after(job, steps):
    """As a kill: the process is gone in the middle of step `steps` + 1."""
    taken = []
    inner = job.batches.take

    def take(cursor, rng):
        taken.append(cursor)
        if len(taken) > steps:
            raise Interrupted
        return inner(cursor, rng)

    job.batches.take = take


def test_dropout_too_goes_on_where_it_was(job, weights):
    def made(name):
        chosen = job(name, steps=6, checkpoint_every=2)
        for block in chosen.model.stack.blocks:
            block.dropout = 0.3
        return chosen

    whole = made("whole")
    train(whole)
    plain = job("plain", steps=6)
    train(plain)
    assert not same(weights(whole.model), weights(plain.model))  # there is dropout
    broken = made("broken")
    stop_after(broken, 5)
    torch.randn(17)  # whatever else the process draws does not matter
    with pytest.raises(Interrupted):
        train(broken)
    again = made("broken")
    train(again)
    assert same(weights(again.model), weights(whole.model))


def test_training_leaves_the_global_random_numbers_alone(job):
    torch.manual_seed(3)
    want = torch.randn(4)
    torch.manual_seed(3)
    train(job(steps=2))
    assert torch.equal(torch.randn(4), want)


def scripted(job, values):
    """Validations with given results, and the weights at each."""
    seen = []

    def validate():
        seen.append({name: value.clone() for name, value in job.model.state_dict().items()})
        value = values[len(seen) - 1]
        return Verdict((value,), {"bits_per_byte": value})

    job.validate, job.validate_every = validate, 1
    return seen


def test_the_best_weights_are_kept_and_patience_ends_the_training(job, weights):
    made = job(steps=10, patience=2)
    seen = scripted(made, [3.0, 2.0, 2.5, 2.0])
    state = train(made)
    assert (state.step, state.best_step, state.stopped, len(seen)) == (4, 2, True, 4)
    assert same(weights(made.model), seen[1])
    kept = sorted(p.name for p in (made.folder / "checkpoints").glob("step-*"))
    assert kept == ["step-00000002", "step-00000003", "step-00000004"]


@pytest.mark.parametrize("first", [1, 2, 3])
def test_patience_survives_a_kill(first, job, weights):
    values = [3.0, 2.0, 2.5, 2.2, 1.0, 0.5]
    whole = job("whole", steps=6, patience=2)
    scripted(whole, values)
    assert train(whole).step == 4
    broken = job("broken", steps=6, patience=2)
    scripted(broken, values)
    stop_after(broken, first)
    with pytest.raises(Interrupted):
        train(broken)
    again = job("broken", steps=6, patience=2)
    scripted(again, values[first - 1 :])  # the checkpoint was saved before its validation, which is therefore done again
    assert train(again).step == 4
    assert same(weights(again.model), weights(whole.model))


def test_a_kill_in_the_validation_costs_no_training(job):
    made = job(steps=4)
    scripted(made, [])  # the first one fails
    with pytest.raises(IndexError):
        train(made)
    assert [p.name for p in (made.folder / "checkpoints").glob("step-*")] == ["step-00000001"]


def test_an_interrupted_run_is_not_validated_twice_in_the_log(job):
    made = job(steps=3)
    scripted(made, [3.0, 2.0])
    with pytest.raises(IndexError):
        train(made)
    again = job(steps=3)
    scripted(again, [1.0])
    train(again)
    validations = [line["step"] for line in read(again.folder / "metrics.jsonl") if "validation" in line]
    assert validations == [1, 2, 3]


def test_a_loss_that_is_not_finite_stops_the_work_and_says_where(job, shards, weights):
    made = job(steps=8, checkpoint_every=2)
    healthy = made.objective.loss

    class Poisoned:
        type, expand = "causal", made.objective.expand
        calls = 0

        def loss(self, model, batch):
            Poisoned.calls += 1
            found = healthy(model, batch)
            if Poisoned.calls > 8:
                found.total = found.total * float("nan")
            return found

    made.objective = Poisoned()
    with pytest.raises(TrainingError, match=r"step 5: expected a finite loss and gradient, got loss nan") as raised:
        train(made)
    record = files.read_json(made.folder / "failure.json")
    assert record["step"] == 5
    assert len(record["items"]) == 8
    first = shards.split("train").documents["id"]
    assert set(record["rows"].split(", ")) <= set(first.tolist())
    assert "train.optim.lr" in str(raised.value)
    assert raised.value.exit_status == 1
    assert "step-00000004" in [p.name for p in (made.folder / "checkpoints").glob("step-*")]
    again = job(steps=8, checkpoint_every=2)  # and the run can go on from there
    assert train(again).step == 8


def test_a_gradient_that_is_not_finite_changes_no_weight(job, weights):
    made = job()
    before = weights(made.model)
    with torch.no_grad():
        next(iter(made.model.parameters())).fill_(float("inf"))
        before = weights(made.model)
    norm = update(made, forward_of(made), made.batches.take((0, 0), seeded(0, 0))[0], seeded(0, 0)).norm
    assert not norm < float("inf")
    assert same(weights(made.model), before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_a_checkpoint_and_says_what_to_run(number, job, weights):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    made = job("a", steps=9)
    inner = made.batches.take

    def take(cursor, rng):
        if cursor[1] == 24:
            os.kill(os.getpid(), number)
        return inner(cursor, rng)

    made.batches.take = take
    with pytest.raises(Stopped, match="after step 4 of 9; a checkpoint is saved - run the same command again") as raised:
        train(made)
    assert raised.value.exit_status == {signal.SIGTERM: 0, signal.SIGINT: 130}[number]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    again = job("a", steps=9)
    train(again)
    whole = job("whole", steps=9)
    train(whole)
    assert same(weights(again.model), weights(whole.model))


def test_metrics_have_a_line_a_step(job):
    made = job(steps=5)
    train(made)
    lines = read(made.folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        assert set(line) == {"step", "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "seconds", "memory_bytes", "joules"}
    assert [line["tokens"] for line in lines] == [192 * step for step in range(1, 6)]
    assert lines[0]["lr"] == 3e-3 > lines[-1]["lr"] > 0
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_half_a_line_of_metrics_is_cut(tmp_path):
    from yanmo.train.records.metrics import MetricsLog

    path = tmp_path / "metrics.jsonl"
    entries = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "validation": {}}, {"step": 3, "loss": 0.5}]
    path.write_text("".join(json.dumps(e) + "\n" for e in entries) + '{"step": 4, "lo')
    with MetricsLog(path, 2, 1) as log:
        log.write(step=3, loss=0.6)
    assert [(line["step"], line.get("loss")) for line in read(path)] == [(1, 2.0), (2, 1.0), (3, 0.6)]


def test_the_console_shows_where_it_goes_on(job, capsys):
    made = job(steps=4, checkpoint_every=1)
    stop_after(made, 2)
    with pytest.raises(Interrupted):
        train(made)
    again = job(steps=4)
    again.console = Console()
    train(again)
    assert "goes on from step 2" in capsys.readouterr().err


def test_without_a_compiler_it_trains_all_the_same(job, monkeypatch, capsys, weights):
    plain = job("plain", steps=2)
    train(plain)
    monkeypatch.setenv("PATH", "")
    asked = job("asked", steps=2, compile=True)
    asked.console = Console()
    train(asked)
    assert "trained without torch.compile" in capsys.readouterr().err
    assert same(weights(asked.model), weights(plain.model))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_steps_are_those_of_plain_ones_and_resume_to_the_bit(job, weights, capsys):
    plain, whole = job("plain", steps=6), job("whole", steps=6, compile=True, checkpoint_every=3)
    whole.console = Console()
    scripted(whole, [3.0] * 6)
    train(plain)
    train(whole)
    assert "with its compilation" in capsys.readouterr().err
    losses = [[line["loss"] for line in read(j.folder / "metrics.jsonl") if "loss" in line] for j in (plain, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    broken = job("broken", steps=6, compile=True, checkpoint_every=3)
    stop_after(broken, 4)
    with pytest.raises(Interrupted):
        train(broken)
    again = job("broken", steps=6, compile=True, checkpoint_every=3)
    train(again)
    last = job("last", steps=6, compile=True)
    train(last)
    assert same(weights(again.model), weights(last.model))
    assert not any("_orig_mod" in name for name in again.model.state_dict())


def test_bfloat16_trains_as_well(job):
    found = {}
    for form in ("fp32", "bf16"):
        made = job(form, steps=12, precision=form)
        train(made)
        found[form] = [line["loss"] for line in read(made.folder / "metrics.jsonl")]
        assert all(p.dtype == torch.float32 for p in made.model.parameters())
    assert found["bf16"] != found["fp32"]
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.02)
