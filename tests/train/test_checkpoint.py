"""Checkpoints: bit for bit, whole or absent, the newest sound one, the best one kept."""

import resource
import signal

import pytest
import torch

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import CorruptError, StorageError
from yanmo.core.registry import names
from yanmo.train import checkpoint
from yanmo.train.checkpoint import State, broken, newest, prune, restore, save
from yanmo.train.randomness import seeded
from yanmo.train.step import forward_of, update


def steps(job, count, first=0):
    forward = forward_of(job)
    cursor = (0, first * job.batches.rows)
    for step in range(first, first + count):
        rng = seeded(job.seed, step)
        micro, cursor = job.batches.take(cursor, rng)
        update(job, forward, micro, rng)


@pytest.mark.parametrize("optimizer", names("optimizer"))
@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_what_was_saved_comes_back_to_the_bit(optimizer, model, job, weights, tmp_path):
    made = job(model=model, optimizer=optimizer)
    steps(made, 3)
    state = State(seed=5, step=3, cursor=(1, 7), tokens=99, seconds=1.5, validated=2, best=(0.25, 1.5), best_step=2, waited=1)
    path = save(tmp_path / "c", state, made.model, made.optimizer)
    other = job("b", model=model, optimizer=optimizer)
    assert restore(path, other.model, other.optimizer) == state
    for name, value in weights(made.model).items():
        assert torch.equal(value, other.model.state_dict()[name])
    steps(made, 2, first=3)
    steps(other, 2, first=3)
    for name, value in weights(made.model).items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_the_same_state_is_saved_as_the_same_bytes(job, tmp_path):
    for name in ("a", "b"):
        made = job(name)
        steps(made, 2)
        save(tmp_path / f"c{name}", State(seed=5, step=2), made.model, made.optimizer)
    first, second = (sorted((tmp_path / f"c{name}" / "step-00000002").iterdir()) for name in ("a", "b"))
    assert [p.name for p in first] == [p.name for p in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second))


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_checkpoint_is_named_and_skipped(file, damage, job, tmp_path, capsys):
    made = job()
    steps(made, 1)
    for step in (1, 2):
        save(tmp_path, State(seed=0, step=step), made.model, made.optimizer)
    path = tmp_path / "step-00000002" / file
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    assert newest(tmp_path, Console()).name == "step-00000001"
    said = capsys.readouterr().err
    assert "step-00000002" in said
    assert "older checkpoint" in said


def test_none_is_sound(tmp_path, capsys):
    assert newest(tmp_path) is None
    (tmp_path / "step-00000009").mkdir()
    assert newest(tmp_path, Console()) is None
    assert broken(tmp_path / "step-00000009") is not None


def test_the_newest_and_the_best_are_kept(job, tmp_path):
    made = job()
    for step in range(1, 7):
        save(tmp_path, State(seed=0, step=step), made.model, made.optimizer)
    prune(tmp_path, keep=2, best_step=2)
    assert [p.name[-1] for p in sorted(tmp_path.glob("step-*"))] == ["2", "5", "6"]


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_half_written(job, tmp_path):
    """A limit on the size of files makes the system refuse a write in the middle, as a full disk does."""
    made = job()
    steps(made, 1)
    save(tmp_path, State(seed=0, step=1), made.model, made.optimizer)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StorageError, match="disk is full"):
            save(tmp_path, State(seed=0, step=2), made.model, made.optimizer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert newest(tmp_path).name == "step-00000001"


def test_a_tied_head_is_saved_once(job, tmp_path):
    from safetensors import safe_open

    made = job()
    path = save(tmp_path, State(seed=0, step=1), made.model, made.optimizer)
    with safe_open(path / "model.safetensors", "pt") as file:
        stored = set(file.keys())
    assert stored == {name for name, _ in made.model.named_parameters()}
    checkpoint.load_weights(path, made.model)


MADE_FOR = {"seed": 5, "optimizer": "AdamW (embedding 1, matrices 8, vectors 9)", "objective": "causal", "precision": "fp32"}


@pytest.mark.parametrize("key", list(MADE_FOR))
def test_a_checkpoint_of_another_training_is_refused(key, job, tmp_path, weights):
    made = job()
    path = save(tmp_path, State(seed=5, step=1), made.model, made.optimizer, made_for=MADE_FOR)
    other = job("b")
    steps(other, 1)
    before = weights(other.model)
    with pytest.raises(CorruptError, match=rf"step-00000001: expected a checkpoint for {key} other, got for .* - use another run"):
        restore(path, other.model, other.optimizer, {**MADE_FOR, key: "other"})
    assert all(torch.equal(value, other.model.state_dict()[name]) for name, value in before.items()), "nothing is touched"
    assert restore(path, other.model, other.optimizer, MADE_FOR).step == 1


def test_a_checkpoint_of_another_model_is_refused(job, tmp_path):
    made, other = job(), job("b", model="lstm")
    path = save(tmp_path, State(seed=5, step=1), made.model, made.optimizer)
    with pytest.raises(CorruptError, match=r"expected a checkpoint of this model, whose \S+ is \S+, got one of another model, where"):
        restore(path, other.model, other.optimizer)


def test_the_loop_refuses_it_with_one_clear_line_and_leaves_it(job):
    from yanmo.train.loop import train

    made = job("a", steps=2)
    train(made)
    before = {p: p.read_bytes() for p in files.files(made.folder / "checkpoints")}
    for other in (job("a", model="lstm", steps=4), job("a", optimizer="muon", steps=4), job("a", steps=4, precision="bf16")):
        with pytest.raises(CorruptError, match=r"expected a checkpoint (of this model|for)") as raised:
            train(other)
        assert "\n" not in str(raised.value)
        assert raised.value.exit_status == 1
    assert {p: p.read_bytes() for p in files.files(made.folder / "checkpoints")} == before


def test_one_that_is_newer_than_the_code_is_refused(job, tmp_path):
    """Not skipped for an older one, whose training would overwrite it."""
    made = job()
    for step in (1, 2):
        path = save(tmp_path, State(seed=0, step=step), made.model, made.optimizer)
    record = files.read_json(path / "manifest.json")
    files.write_json(path / "manifest.json", {**record, "format": 3, "files": "in some other form"})
    found = newest(tmp_path, Console())
    assert found == path
    with pytest.raises(CorruptError, match=r"expected a checkpoint of format 2 at most, got format 3, of a newer Yanmo - install"):
        restore(found, made.model, made.optimizer)


def test_one_of_the_first_format_is_read(job, tmp_path):
    made = job()
    path = save(tmp_path, State(seed=0, step=3), made.model, made.optimizer)
    files.write_json(path / "manifest.json", files.read_json(path / "manifest.json")["files"])
    assert newest(tmp_path) == path
    other = job("d")
    assert restore(path, other.model, other.optimizer, MADE_FOR).step == 3


def test_truncated_ones_to_the_last_begin_anew_and_say_so(job, tmp_path, capsys):
    made = job()
    for step in (1, 2):
        path = save(tmp_path, State(seed=0, step=step), made.model, made.optimizer)
        (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:100])
    assert newest(tmp_path, Console()) is None
    said = capsys.readouterr().err.splitlines()
    assert "an older checkpoint is used" in said[0]
    assert "there is no older checkpoint, training begins anew" in said[1]
