"""Several processes train as one does: DDP, FSDP2, context and tensor parallelism, sharded checkpoints, a slow rank, a killed one.

Curves are equal within the error of float32 sums, which come in another order. Everything speaks over loopback.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from tests.train.parallel.several import SMALL, TEXTS, Case, free_port, run, together
from yanmo.core import files
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.train.parallel.heartbeat import Note, Watched, complaints
from yanmo.train.parallel.ranks import Ranks
from yanmo.train.parallel.worlds import without_tables
from yanmo.train.world import World

WINDOWED = {"attention": {"window": 7, "full_every": 2, "sinks": 2}}
ADAMW = {"type": "adamw", "lr": 3e-3}
FAST = [
    Case("ddp", {"type": "ddp"}, {"dropout": 0.1}, validates=True, checkpoint_every=2),
    Case("fsdp", {"type": "fsdp"}, {"dropout": 0.1}, validates=True, checkpoint_every=2),
    Case("tensor", {"type": "ddp", "tensor": 2}, {"dropout": 0.1, "bias": "all"}, validates=True, checkpoint_every=2),
    Case("grams", {"type": "ddp"}, {"embedding": {"grams": {"rows": 64, "orders": [2, 3]}}}, rows=6, checkpoint_every=2),
    Case("slow", {"type": "ddp", "heartbeat": 0.4}, slow=(1, 3, 1.6), steps=3),
]
CASES = [
    Case("spare", {"type": "ddp"}, rows=6, optimizer=ADAMW),  # three micro-batches on two ranks
    Case("unused", {"type": "ddp"}, {"architecture": "encoder", "head": {"pooler": True}}, "masked", optimizer=ADAMW),
    Case("fsdp-adamw", {"type": "fsdp"}, {"tie": False}, rows=6, optimizer=ADAMW),
    Case("labels", {"type": "fsdp"}, objective="supervised", micro=3, optimizer=ADAMW),
    Case("context", {"type": "ddp", "context": 2}, WINDOWED, context=21),
    Case("context-masked", {"type": "fsdp", "context": 2}, {"architecture": "encoder", "position": {"type": "learned"}}, "masked",
         context=22, optimizer=ADAMW),
]

ADAPTED = [
    Case("lora", {"type": "ddp"}, {"tie": False}, optimizer=ADAMW, adapter={"type": "lora", "rank": 2, "targets": "all"}),
    Case("dora", {"type": "ddp"}, objective="supervised", micro=3, optimizer=ADAMW, adapter={"type": "lora", "rank": 2, "dora": True}),
    Case("qlora", {"type": "ddp"}, optimizer=ADAMW, checkpoint_every=2, adapter={"type": "lora", "rank": 2, "base": "nf4"}),
]


def losses(found):
    return [line["loss"] for line in found["lines"] if "loss" in line]


def equal(found, want, tolerance=2e-5):
    """The same curve, gradient norms and weights."""
    assert losses(found) == pytest.approx(losses(want), rel=tolerance)
    for name in ("grad_norm", "tokens", "lr"):
        mine, theirs = ([line[name] for line in one["lines"] if name in line] for one in (found, want))
        assert mine == pytest.approx(theirs, rel=1e-3 if name == "grad_norm" else 1e-9)
    assert losses(found)[-1] != losses(found)[0]
    assert found["weights"].keys() == want["weights"].keys()
    for name, values in found["weights"].items():
        assert values == pytest.approx(want["weights"][name], rel=5e-3, abs=5e-4), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same cases in one process."""
    folder, made = tmp_path_factory.mktemp("alone"), {}

    def find(case):
        if case.name not in made:
            made[case.name] = run(Case(**{**vars(case), "parallel": None, "slow": None}), folder)
        return made[case.name]

    return find


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return {found["case"]["name"]: found for found in together(2, FAST, folder)} | {"folder": folder}


@pytest.mark.parametrize("case", FAST, ids=lambda case: case.name)
def test_two_ranks_are_one_process(case, two, alone):
    equal(two[case.name], alone(case))


@pytest.mark.slow
def test_two_ranks_are_one_process_in_other_ways_too(tmp_path, alone):
    for found, case in zip(together(2, CASES, tmp_path), CASES, strict=True):
        equal(found, alone(case))


@pytest.mark.slow
def test_adapters_learn_on_two_ranks_as_on_one(tmp_path, alone):
    """Several micro-batches to a step, whose gradients need what stays as it is."""
    for found, case in zip(together(2, ADAPTED, tmp_path), ADAPTED, strict=True):
        equal(found, alone(case))
        assert all("lora" in name or ".down." in name or ".up." in name or "magnitude" in name or name.startswith("score") for name in found["weights"])


def test_the_heartbeat_names_the_rank_that_is_behind_and_its_phase(two):
    said = two["slow"]["said"]
    assert len(said) == 1
    assert said[0].startswith("rank 1 on ")
    assert "is behind: in data of step 3 for" in said[0]
    assert "while others wait in" in said[0]
    assert "of step 3" in said[0].split("while")[1]
    assert not two["ddp"]["said"]


def test_validations_and_checkpoints_are_those_of_one_process(two, alone):
    for name in ("ddp", "fsdp", "tensor"):
        case = next(case for case in FAST if case.name == name)
        mine, theirs = ([line["validation"]["nats"] for line in found["lines"] if "validation" in line] for found in (two[name], alone(case)))
        assert len(mine) == 3
        assert mine == pytest.approx(theirs, rel=1e-4)


def test_checkpoints_hold_no_pickle_and_those_of_ddp_are_plain(two):
    for name, shards in (("ddp", False), ("tensor", False), ("fsdp", True)):
        folder = two["folder"] / name / "checkpoints" / "step-00000006"
        found = {path.relative_to(folder).as_posix(): path for path in files.files(folder)}
        assert {path.suffix for path in found.values()} == {".json", ".safetensors"}
        assert all(path.read_bytes()[:2] not in (b"\x80\x02", b"PK", b"\x80\x04", b"\x80\x05") for path in found.values())
        assert ("model.safetensors" in found) != shards
        record = files.read_json(folder / "manifest.json")["files"]
        assert set(record) == set(found) - {"manifest.json"}
        if shards:
            assert sum(file.startswith("model/shard-") for file in found) == 2
            assert sum(file.startswith("optimizer/shard-") for file in found) == 2
        assert not list(folder.parent.glob(".tmp-*"))


# ------------------------------------------------------------------------------------------------ one process


def test_the_world_of_one_process_changes_nothing():
    world, batch = World(), [object()]
    assert world.share(batch) is batch
    assert world.total(3.5) == 3.5
    assert world.agree("SIGTERM") == "SIGTERM"
    assert world.shared({"rows": 8, "micro_rows": 3}) == {"rows": 8, "micro_rows": 3}
    with world.sync(False):
        pass


def test_what_needs_several_ranks_is_refused_in_one(tmp_path):
    for parallel in ({"type": "ddp", "context": 2}, {"type": "ddp", "tensor": 2}):
        with pytest.raises(RequestError, match="several ranks, without which"):
            run(Case("x", parallel), tmp_path)
    run(Case("y", {"type": "fsdp"}, steps=1), tmp_path)  # a recipe for many runs on one all the same


def test_tables_of_hashed_ngrams_are_not_divided():
    for grams, refused in ({"rows": 64}, True), (None, False):
        part = create("model", {**SMALL, "embedding": {"grams": grams}})
        model = part.build(type("", (), {"size": 50}), torch.Generator().manual_seed(0))
        with pytest.raises(RequestError, match="ddp") if refused else nullcontext():
            without_tables(model)


# ------------------------------------------------------------------------------------------------ the heartbeat


def watched(**notes):
    return {int(rank[1:]): Watched(Note("host", *note), heard, moved) for rank, (note, heard, moved) in notes.items()}


def test_a_rank_that_stopped_beating_is_named_once():
    known = watched(r0=((7, 3, "reduce"), 100.0, 60.0), r1=((7, 2, "backward"), 61.0, 61.0))
    (line,) = complaints(known, 100.0, 30.0)
    assert str(line) == "rank 1 on host gives no sign of life for 39 s; last seen in backward of step 7"
    assert complaints(known, 110.0, 30.0) == []
    known[1].heard = 111.0
    complaints(known, 112.0, 30.0)
    assert len(complaints(known, 150.0, 30.0)) == 2  # both have stopped now


def test_a_slow_rank_is_the_one_that_got_least_far():
    known = watched(r0=((7, 5, "reduce"), 100.0, 60.0), r1=((7, 1, "data"), 100.0, 59.0), r2=((7, 5, "reduce"), 100.0, 60.0))
    (line,) = complaints(known, 100.0, 30.0)
    assert str(line) == "rank 1 on host is behind: in data of step 7 for 41 s, while others wait in reduce of step 7"
    assert complaints(known, 101.0, 30.0) == []
    assert complaints(watched(r0=((7, 5, "forward"), 100.0, 20.0), r1=((7, 5, "forward"), 100.0, 20.0)), 100.0, 30.0) == []
    assert complaints(watched(r0=((7, 5, "end"), 10.0, 10.0)), 100.0, 30.0) == []


# ------------------------------------------------------------------------------------------------ meeting


def joined(rank, size, port, seconds):
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                   "YANMO_RANKS_TIMEOUT": str(seconds), "YANMO_LANG": "en"}  # fmt: skip
    code = ("import sys\nfrom yanmo.core.errors import YanmoError\nfrom yanmo.train.parallel.ranks import Ranks\n"
            "try:\n    Ranks.join()\nexcept YanmoError as error:\n    print(error)\n    sys.exit(1)")  # fmt: skip
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_missing_rank_is_named_after_the_stated_time():
    done = joined(0, 3, free_port(), 0.5)
    assert done.returncode == 1
    assert done.stdout.strip() == ("ranks: expected 3 within 0.5 s, got 1; missing: rank 1, 2 - start the missing ones too, or wait longer "
                                   "with YANMO_RANKS_TIMEOUT=SECONDS")  # fmt: skip


def test_a_missing_first_rank_is_named_with_its_address():
    port = free_port()
    done = joined(1, 2, port, 1)
    assert done.returncode == 1
    assert f"rank 1: expected rank 0 at 127.0.0.1:{port} within 1 s, got nobody" in done.stdout


def test_without_a_launcher_there_is_nobody_to_join(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(RequestError, match=r"MASTER_ADDR.*yanmo run RECIPE --ranks N"):
        Ranks.join()


# ------------------------------------------------------------------------------------------------ four ranks


FOUR = [
    Case("ddp", {"type": "ddp"}, {"dropout": 0.1}),
    Case("fsdp", {"type": "fsdp"}, {"width": 36, "heads": 2, "kv_heads": 1}, checkpoint_every=2),  # 36 rows in slices of 9
    Case("mixed", {"type": "ddp", "context": 2, "tensor": 2}, WINDOWED),
    Case("half", {"type": "fsdp", "context": 2}, {"tie": False}),
]


@pytest.mark.slow
def test_four_ranks_are_one_process(tmp_path):
    for found, case in zip(together(4, FOUR, tmp_path), FOUR, strict=True):
        (tmp_path / f"alone-{case.name}").mkdir()
        equal(found, run(Case(**{**vars(case), "parallel": None}), tmp_path / f"alone-{case.name}"))


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices here")
def test_two_gpus_are_one(tmp_path):
    cases = [Case(case.name, case.parallel, case.model, checkpoint_every=2, device="cuda") for case in FOUR[:2]]
    for found, case in zip(together(2, cases, tmp_path), cases, strict=True):
        (tmp_path / f"alone-{case.name}").mkdir()
        equal(found, run(Case(**{**vars(case), "parallel": None}), tmp_path / f"alone-{case.name}"), 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 2, 1), (1, 4)], ids=["4-2-1", "1-4"])
@pytest.mark.parametrize("optimizer", [{"type": "muon"}, ADAMW], ids=["muon", "adamw"])
def test_a_training_goes_on_with_another_number_of_ranks(sizes, optimizer, tmp_path):
    """Stopped and gone on from its sharded checkpoints, optimizer included, it is the training of one process."""
    last = 2 * len(sizes)
    found = {}
    for index, size in enumerate(sizes):
        case = Case("moving", {"type": "fsdp"}, steps=last, until=None if index + 1 == len(sizes) else 2 * index + 2, optimizer=optimizer,
                    checkpoint_every=2)  # fmt: skip
        found = run(case, tmp_path) if size == 1 else together(size, [case], tmp_path)[0]
        assert found["begun"] == 2 * index
    (tmp_path / "whole").mkdir()
    equal(found, run(Case("moving", steps=last, optimizer=optimizer), tmp_path / "whole"))


@pytest.mark.slow
def test_a_damaged_slice_is_named_and_the_older_checkpoint_is_used(tmp_path, capsys):
    case = Case("damaged", {"type": "fsdp"}, steps=4, checkpoint_every=2)
    together(2, [case], tmp_path)
    slices = sorted((tmp_path / "damaged" / "checkpoints" / "step-00000004" / "optimizer").iterdir())
    content = slices[1].read_bytes()
    slices[1].write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    from yanmo.core.console import Console
    from yanmo.train.checkpoint import newest

    assert newest(tmp_path / "damaged" / "checkpoints", Console()).name == "step-00000002"
    assert "optimizer/shard-00002" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ a killed rank


RECIPE = """
name: small
stages:
  - corpus: {source: {type: text, path: texts}, validation: 0.1}
  - tokenizer: {type: characters, min_count: 1}
  - pretrain:
      model: {type: transformer, depth: 2, width: 32, heads: 4}
      objective: {type: causal, context: 24}
      train: {steps: 300, batch_tokens: 192, micro_tokens: 48, checkpoint_every: 5, validate_every: 20, parallel: {type: PARALLEL}}
"""


def started(folder, kind, run_dir, by_torchrun=False):
    (folder / "texts").mkdir(exist_ok=True)
    for index, body in enumerate(TEXTS):
        (folder / "texts" / f"{index:02}.txt").write_text(body * 3, encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE.replace("PARALLEL", kind), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "YANMO_LANG": "en", "GLOO_SOCKET_IFNAME": "lo"}
    run = ["-m", "yanmo", "run", "recipe.yaml", "--run-dir", run_dir]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
                "--local-addr", "127.0.0.1"]  # fmt: skip
    command = [sys.executable, *torchrun, *run] if by_torchrun else [sys.executable, *run, "--ranks", "2"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(launcher):
    """The processes of the ranks, by the numbers that the kernel gives."""
    found = []
    for child in (Path("/proc") / str(launcher) / "task" / str(launcher) / "children").read_text().split():
        command = (Path("/proc") / child / "cmdline").read_bytes()
        if b"spawn_main" in command:
            found.append(int(child))
    return found


def trains(process, run_dir):
    """Waits until a dozen steps are done."""
    metrics, end = run_dir / "pretrain" / "metrics.jsonl", time.monotonic() + 90
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) > 12):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def curve(folder, run_dir):
    lines = [json.loads(line) for line in (folder / run_dir / "pretrain" / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line.get("loss"), line.get("validation")) for line in lines]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_killed_rank_is_named_and_all_go_on_to_the_same_bytes(kind, tmp_path):
    whole = started(tmp_path, kind, "whole", by_torchrun=True)
    err = whole.communicate(timeout=120)[1]
    assert whole.returncode == 0, err
    broken = started(tmp_path, kind, "broken")
    trains(broken, tmp_path / "broken")
    os.kill(workers(broken.pid)[1], signal.SIGKILL)
    out, err = broken.communicate(timeout=120)
    assert broken.returncode == 0, err
    assert "was killed by SIGKILL; last seen in" in err
    assert "restart 1 of 3" in err
    assert "goes on from step" in err
    assert "Traceback" not in err
    assert curve(tmp_path, "broken") == curve(tmp_path, "whole")
    for name in ("model/model.safetensors", "model/config.json", "training.json"):
        assert (tmp_path / "broken" / "pretrain" / name).read_bytes() == (tmp_path / "whole" / "pretrain" / name).read_bytes()
    assert "pretrain" in out
    assert torch.isfinite(torch.tensor(curve(tmp_path, "whole")[-2][1] or 0.0))


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves_once_and_the_next_run_goes_on(tmp_path):
    process = started(tmp_path, "ddp", "run")
    trains(process, tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=100)[1]
    assert process.returncode == 0, err
    assert err.count("a checkpoint is saved") == 1
    assert "Traceback" not in err
    again = started(tmp_path, "ddp", "run")
    err = again.communicate(timeout=100)[1]
    assert again.returncode == 0, err
    assert "goes on from step" in err
    assert [step for step, loss, _ in curve(tmp_path, "run") if loss is not None] == list(range(1, 301))
