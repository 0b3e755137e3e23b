"""Memory that runs out: micro-batches are halved, the step is done again, and the result is the same."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from tests.train.test_loop import Interrupted, same, stop_after
from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import TrainingError
from yanmo.train.loop import train
from yanmo.train.machine.room import Room, cut, out_of_memory
from yanmo.train.randomness import Moment, seeded
from yanmo.train.records.metrics import read


class Narrow:
    """An objective that has memory for so many rows only, as the allocator of this device says it."""

    def __init__(self, objective, rows, errors):
        self.objective, self.rows, self.errors, self.met = objective, rows, errors, 0

    def __getattr__(self, name):
        return getattr(self.objective, name)

    def loss(self, model, batch):
        if len(batch.inputs.tokens) > self.rows:
            self.met += 1
            raise self.errors[self.met % len(self.errors)]
        return self.objective.loss(model, batch)


ERRORS = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
    MemoryError("std::bad_alloc"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
]


def test_what_counts_as_memory_that_ran_out():
    assert all(out_of_memory(error) for error in ERRORS)
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))


def test_rows_are_cut_in_their_order_with_all_that_is_theirs(job):
    made = job(rows=8, micro=8)
    (batch,), _ = made.batches.take((0, 0), seeded(0, 0))
    batch.carried = {"h": torch.arange(16).view(8, 2)}
    for parts, sizes in ((1, [8]), (2, [4, 4]), (4, [2] * 4), (8, [1] * 8), (16, [1] * 8)):
        found = cut(batch, parts)
        assert [len(part.inputs.tokens) for part in found] == sizes
        assert torch.equal(torch.cat([part.inputs.tokens for part in found]), batch.inputs.tokens)
        assert torch.equal(torch.cat([part.inputs.documents for part in found]), batch.inputs.documents)
        assert torch.equal(torch.cat([part.carried["h"] for part in found]), batch.carried["h"])
        assert [item for part in found for item in part.items] == batch.items
        assert sum(part.weight for part in found) == batch.weight
    assert [len(part.inputs.tokens) for part in cut(found[0], 2)] == [1]


def test_the_step_is_done_again_in_halves_with_the_same_result(job, capsys):
    plain = job("plain", steps=4, rows=8, micro=8)
    train(plain)
    made = job("made", steps=4, rows=8, micro=8)
    made.console = Console()
    made.objective = Narrow(made.objective, 2, ERRORS)
    train(made)
    assert made.objective.met == 2, "8 rows, then 4; from then on 2 at a time"
    said = [line for line in capsys.readouterr().err.splitlines() if "exhausted" in line]
    assert said == ["training: step 1: the memory is exhausted; from here on micro-batches are cut into 2 (4 rows at most), with the same result",
                    "training: step 1: the memory is exhausted; from here on micro-batches are cut into 4 (2 rows at most), with the same result"]  # fmt: skip
    assert files.read_json(made.folder / "memory.json") == {"halved_at": [0, 0]}
    losses = [[line["loss"] for line in read(j.folder / "metrics.jsonl")] for j in (plain, made)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert all(line["micro_parts"] == 4 for line in read(made.folder / "metrics.jsonl"))
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(made.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("first", [2, 4, 5])
def test_a_run_that_goes_on_cuts_the_same_steps(first, job, weights):
    """Memory runs out at step 4 in the first try and, being plenty again, never in the second: the bytes are the same."""

    class Later(Narrow):
        steps = 0

        def loss(self, model, batch):
            type(self).steps += len(batch.inputs.tokens)
            return super().loss(model, batch) if type(self).steps > 24 else self.objective.loss(model, batch)

    def made(name):
        chosen = job(name, steps=7, rows=8, micro=8, checkpoint_every=3)
        Later.steps = 0
        chosen.objective = Later(chosen.objective, 4, ERRORS)
        return chosen

    whole = made("whole")
    train(whole)
    assert files.read_json(whole.folder / "memory.json") == {"halved_at": [3]}
    broken = made("broken")
    stop_after(broken, first)
    with pytest.raises(Interrupted):
        train(broken)
    again = made("broken")
    if first > 3:  # it has been found out, and this time there is enough
        again.objective = again.objective.objective
    else:
        Later.steps = 8 * (first // 3 * 3)
    train(again)
    assert same(weights(again.model), weights(whole.model))


def test_one_row_that_does_not_fit_ends_the_training_with_a_clear_line(job):
    made = job(rows=4, micro=4)
    made.objective = Narrow(made.objective, 0, ERRORS[:1])
    with pytest.raises(TrainingError, match=r"step 1: expected memory for one row of 24 tokens, got .*can't allocate memory.* - lower "):
        train(made)


def test_memory_that_runs_out_elsewhere_is_one_clear_line(job):
    made = job(steps=2, validate_every=1)

    def validate():
        raise ERRORS[0]

    made.validate = validate
    with pytest.raises(TrainingError, match=r"the memory is exhausted: .*can't allocate memory"):
        train(made)


def test_dropout_draws_again_what_it_drew(job):
    """The second try begins from the random numbers of the first."""
    made = job(rows=8, micro=8)
    seen = []

    def work(micro):
        seen.append(float(torch.rand(())))
        if len(micro) == 1:
            raise ERRORS[0]
        return len(micro)

    made.folder.mkdir()
    rng = seeded(0, 0)
    micro, _ = made.batches.take((0, 0), rng)
    room = Room(made.folder, made.console, "x")
    assert room.fit(0, micro, work, Moment(rng).again) == 2
    assert seen[0] == seen[1]


SCRIPT = """
    import resource, sys
    from pathlib import Path
    import numpy as np, torch
    from yanmo.core.console import Console
    from yanmo.core.registry import create
    from yanmo.objectives.base import Context
    from yanmo.text.characters import CharacterTokenizer
    from yanmo.train.batches import TokenBatches
    from yanmo.train.job import Job
    from yanmo.train.loop import train

    torch.set_num_threads(1)
    texts = ["Call me Ishmael. 话说天下大势，分久必合。 🐋 " * 400]
    tokenizer = CharacterTokenizer(min_count=1).train(texts)
    part = create("model", {"type": "transformer", "depth": 2, "width": 64, "heads": 2})
    model = part.build(tokenizer, torch.Generator().manual_seed(0), 512)
    objective = create("objective", "causal").bind(Context(tokenizer))

    class Stream:
        tokens = np.array(tokenizer.encode(texts[0]), np.uint16)

    def job(folder, micro):
        return Job(model=model, objective=objective, batches=TokenBatches(Stream(), objective, 512, 16, micro, 0),
                   optimizer=create("optimizer", {"type": "adamw", "lr": 1e-3}).make(model), schedule=create("schedule", "wsd"),
                   steps=2, folder=Path(folder), seed=0, console=Console())

    folder, spare = sys.argv[1], int(sys.argv[2])
    if spare:
        train(job(folder + "/warm", 1))  # libraries and their buffers are there; one row at a time
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + spare, resource.RLIM_INFINITY))
    train(job(folder + "/run", 16))
"""


def test_a_real_limit_on_memory(tmp_path):
    """A process whose address space may grow by 120 MB: 16 rows of 512 tokens do not fit, fewer do."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run([sys.executable, str(script), str(tmp_path), str(120 << 20)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "YANMO_LANG": "en", "MALLOC_ARENA_MAX": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "from here on micro-batches are cut into 2 (8 rows at most)" in done.stderr
    lines = read(tmp_path / "run" / "metrics.jsonl")
    assert len(lines) == 2
    assert lines[-1]["micro_parts"] >= 2
