"""Checkpoints behind the training's back: a copy, one at a time, and a full disk that costs no training."""

import shutil
import threading
import time

import pytest
import torch

from tests.train.test_loop import same, scripted
from yanmo.core.console import Console
from yanmo.core.errors import StorageError
from yanmo.train import checkpoint
from yanmo.train import writer as writing
from yanmo.train.checkpoint import State, newest, restore, snapshot
from yanmo.train.loop import train
from yanmo.train.writer import Writer


class Gate:
    """Holds the writing thread back until it is opened."""

    def __init__(self, monkeypatch, fails=()):
        self.open, self.begun, self.fails = threading.Event(), [], set(fails)
        inner = checkpoint.write

        def write(folder, held):
            self.begun.append(held.name)
            assert self.open.wait(20)
            if len(self.begun) in self.fails:
                raise StorageError(str(folder / held.name), "room on the disk", "the disk is full")
            return inner(folder, held)

        monkeypatch.setattr(writing, "write", write)


def test_what_is_written_is_what_there_was_when_it_was_asked_for(job, tmp_path, monkeypatch, weights):
    gate, made = Gate(monkeypatch), job()
    then = weights(made.model)
    with Writer(tmp_path, 2) as writer:
        writer.save(snapshot(State(seed=0, step=1), made.model, made.optimizer))
        with torch.no_grad():
            for p in made.model.parameters():
                p.add_(1.0)  # training goes on
        assert not list(tmp_path.glob("step-*"))
        gate.open.set()
    other = job("b")
    restore(newest(tmp_path), other.model, other.optimizer)
    assert same(weights(other.model), then)


def test_one_is_written_at_a_time(job, tmp_path, monkeypatch):
    gate, made = Gate(monkeypatch), job()
    writer = Writer(tmp_path, 2)
    writer.save(snapshot(State(seed=0, step=1), made.model, made.optimizer))
    second = threading.Thread(target=lambda: writer.save(snapshot(State(seed=0, step=2), made.model, made.optimizer)))
    second.start()
    second.join(0.2)
    assert second.is_alive(), "the next save waits"
    assert gate.begun == ["step-00000001"]
    gate.open.set()
    second.join()
    writer.finish()
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000002"]


def test_the_best_one_before_stays_until_the_new_one_is_on_the_disk(job, tmp_path, monkeypatch):
    gate, made = Gate(monkeypatch), job()
    gate.open.set()
    with Writer(tmp_path, 1) as writer:
        for step in (1, 2, 3):
            writer.save(snapshot(State(seed=0, step=step), made.model, made.optimizer))
            writer.wait()
            if step == 1:
                writer.best(1)
        assert [p.name[-1] for p in sorted(tmp_path.iterdir())] == ["1", "3"]
        gate.open.clear()
        writer.save(snapshot(State(seed=0, step=4), made.model, made.optimizer))
        writer.best(4)
        assert [p.name[-1] for p in sorted(tmp_path.glob("step-*"))] == ["1", "3"]
        gate.open.set()
    assert [p.name[-1] for p in sorted(tmp_path.iterdir())] == ["4"]


def test_a_full_disk_is_said_and_training_goes_on(job, monkeypatch, capsys, weights):
    gate = Gate(monkeypatch, fails={2})
    gate.open.set()
    made = job(steps=6, checkpoint_every=2)
    made.console = Console()
    train(made)
    said = capsys.readouterr().err
    assert "the disk is full; training goes on, with the older checkpoints kept" in said
    assert len([line for line in said.splitlines() if "disk" in line]) == 1
    kept = sorted(p.name for p in (made.folder / "checkpoints").iterdir())
    assert kept == ["step-00000002", "step-00000006"]
    whole = job("whole", steps=6)
    train(whole)
    assert same(weights(made.model), weights(whole.model))


def test_the_last_checkpoint_is_tried_again_and_then_an_error(job, monkeypatch):
    gate = Gate(monkeypatch, fails={3})
    gate.open.set()
    made = job("a", steps=6, checkpoint_every=2)
    train(made)
    assert gate.begun == ["step-00000002", "step-00000004", "step-00000006", "step-00000006"]
    gate.begun.clear()
    gate.fails = {3, 4}
    made = job("b", steps=6, checkpoint_every=2)
    with pytest.raises(StorageError, match="disk is full"):
        train(made)
    assert [p.name for p in sorted((made.folder / "checkpoints").iterdir())] == ["step-00000002", "step-00000004"]
    gate.begun.clear()
    gate.fails = set()
    again = job("b", steps=6, checkpoint_every=2)
    assert train(again).step == 6


def test_a_full_disk_does_not_lose_the_best(job, monkeypatch):
    """The best validated step's checkpoint could not be written: the one before it is not removed."""
    gate = Gate(monkeypatch, fails={3})
    gate.open.set()
    made = job(steps=5, keep=1)
    scripted(made, [2.0, 3.0, 1.0, 4.0, 5.0])
    train(made)
    assert [p.name[-1] for p in sorted((made.folder / "checkpoints").iterdir())] == ["1", "2", "4", "5"]


def test_a_mistake_of_ours_in_the_thread_is_raised(job, monkeypatch):
    def write(folder, held):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(writing, "write", write)
    with pytest.raises(ZeroDivisionError, match="ours"):
        train(job(steps=4, checkpoint_every=1))


def test_another_error_is_not_hidden_by_that_of_the_thread(job, monkeypatch, tmp_path):
    def write(folder, held):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(writing, "write", write)
    made = job()

    def work():
        with Writer(tmp_path, 1) as writer:
            writer.save(snapshot(State(seed=0, step=1), made.model, made.optimizer))
            raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        work()


def test_training_waits_for_the_copy_alone(job, monkeypatch, tmp_path):
    """A disk that takes half a second for each checkpoint costs the training next to nothing."""
    inner = checkpoint.write

    def slow(folder, held):
        time.sleep(0.5)
        return inner(folder, held)

    monkeypatch.setattr(writing, "write", slow)
    made = job()
    writer = Writer(tmp_path, 2)
    began = time.monotonic()
    writer.save(snapshot(State(seed=0, step=1), made.model, made.optimizer))
    assert time.monotonic() - began < 0.4
    writer.finish()
    assert writer.seconds > 0.5


@pytest.mark.skipif(not shutil.which("mount"), reason="no mount here")
def test_a_real_file_system_that_is_full(job, tmp_path, capsys):
    """A tmpfs of one checkpoint and a half: the second one does not fit, and is said; nothing is left of it."""
    import subprocess

    made = job()
    one = sum(p.stat().st_size for p in checkpoint.save(tmp_path / "c", State(seed=0, step=1), made.model, made.optimizer).iterdir())
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(1.6 * one) // 4096 * 4096}", "tmpfs", str(small)],
                             capture_output=True, text=True)  # fmt: skip
    if mounted.returncode:
        pytest.skip(mounted.stderr.strip())
    try:
        writer = Writer(small, 2, console=Console())
        for step in (1, 2):
            writer.save(snapshot(State(seed=0, step=step), made.model, made.optimizer))
            writer.wait()
        assert "the disk is full" in capsys.readouterr().err
        assert [p.name for p in small.iterdir()] == ["step-00000001"]
        with pytest.raises(StorageError, match="disk is full"):
            writer.finish()
        assert newest(small).name == "step-00000001"
    finally:
        subprocess.run(["umount", str(small)], check=True)
