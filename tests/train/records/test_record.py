"""What each record holds, read back with the reader of its own kind, after kills and without; English and Chinese names."""

import os
import struct
import sys

import pytest

from yanmo.core import files
from yanmo.core.config import build
from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.train.job import Verdict
from yanmo.train.loop import train
from yanmo.train.machine.gauge import TIMED, Gauge, Work
from yanmo.train.records.metrics import read
from yanmo.train.records.record import Title, flat, records_of
from yanmo.train.settings import Train

NAMES = [("stories", "pretrain"), ("故事 🐋", "预训练")]
HELD_OUT = [3.5, 3.0, 2.5, 2.0, 1.5, 1.0]


def kept(job, name, record, title, steps=6, **settings):
    made = job(name, steps=steps, **settings)
    made.records, made.title = [create("record", record)], Title(*title, {"model": {"depth": 2, "name": "模型"}, "steps": steps})
    made.gauge = Gauge(Work(1e5), rate=lambda: 1e9)
    made.validate_every = 2
    made.validate = lambda: Verdict((0.0,), {"bits_per_byte": HELD_OUT[validated(made)]})
    return made


def validated(made):
    return sum("validation" in line for line in read(made.folder / "metrics.jsonl"))


class Killed(BaseException):
    pass


def killed_at(made, step):
    """Gone in the middle of step `step` + 1, without a word to any record."""
    inner, taken = made.batches.take, []

    def take(cursor, rng):
        taken.append(cursor)
        if len(taken) > step:
            raise Killed
        return inner(cursor, rng)

    made.batches.take = take


def expected(made):
    """tag → [(step, value)] as metrics.jsonl has it."""
    found = {}
    for line in read(made.folder / "metrics.jsonl"):
        for tag, value in flat(line).items():
            found.setdefault(tag, []).append((line["step"], value))
    return found


# ------------------------------------------------------------------------------------------------ readers of each kind


def tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def wandb(folder):
    """The offline file: records in the log format of LevelDB (blocks of 32 KiB; checksum, length, kind), behind 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = (folder / "wandb").rglob("*.wandb")
    data, found, name, whole, at = path.read_bytes(), {}, None, b"", 7
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, last
            record, whole = Record.FromString(whole), b""
            if record.HasField("run"):
                name = record.run.display_name
            if record.HasField("history"):
                items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                for tag, value in items.items():
                    if tag.startswith(("train/", "validation/")):
                        found.setdefault(tag, []).append((int(items["step"]), float(value)))
    found["name"] = name
    return found


def mlflow(folder):
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    try:
        from mlflow.store.tracking.file_store import FileStore

        store = FileStore(str(folder / "mlflow"))
        (experiment,) = [e for e in store.search_experiments() if e.name != "Default"]
        (run,) = store.search_runs([experiment.experiment_id], None, 1)
        found = {tag: [(m.step, m.value) for m in store.get_metric_history(run.info.run_id, tag)] for tag in run.data.metrics}
        return found | {"name": f"{experiment.name}/{run.info.run_name}", "status": run.info.status, "depth": run.data.params["model.depth"]}
    finally:
        del os.environ["MLFLOW_ALLOW_FILE_STORE"]


READERS = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}
SLOW = [pytest.param(name, marks=pytest.mark.slow) if name != "tensorboard" else name for name in READERS]  # seconds to import


# ---------------------------------------------------------------------------------------------------------------- tests


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("title", NAMES, ids=["en", "zh"])
@pytest.mark.parametrize("record", SLOW)
def test_a_record_holds_what_metrics_hold_once_whatever_was_killed(record, title, job):
    pytest.importorskip(record)
    killed = kept(job, "a", record, title)
    killed_at(killed, 5)
    with pytest.raises(Killed):
        train(killed)
    made = kept(job, "a", record, title)
    train(made)
    found, want = READERS[record](made.folder), expected(made)
    assert {"train/loss", "train/lr", "train/grad_norm", "train/tokens_per_second", "train/matrix_share", "train/memory_bytes",
            "train/joules", "validation/bits_per_byte"} <= set(want)  # fmt: skip
    for tag, points in want.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points], tag
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in points], rel=1e-6), tag
    assert [step for step, _ in want["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in want["validation/bits_per_byte"]] == [2, 4, 6]
    if record != "tensorboard":
        assert found["name"] == "/".join(title)
    if record == "mlflow":
        assert (found["status"], found["depth"]) == ("FINISHED", "2")


@pytest.mark.parametrize("record", SLOW)
def test_a_record_has_no_influence_on_what_is_trained(record, job, weights):
    pytest.importorskip(record)
    plain = job("plain", steps=4)
    train(plain)
    made = job("recorded", steps=4)
    made.records = [create("record", record)]
    train(made)
    assert all(bool((value == weights(plain.model)[name]).all()) for name, value in weights(made.model).items())
    lines = [[{k: v for k, v in line.items() if k not in TIMED} for line in read(j.folder / "metrics.jsonl")] for j in (plain, made)]
    assert lines[0] == lines[1]


def test_event_files_hold_no_pickle_and_nothing_of_the_machine(job):
    pytest.importorskip("tensorboard")
    made = kept(job, "a", "tensorboard", NAMES[0])
    train(made)
    (path,) = (made.folder / "tensorboard").iterdir()
    assert path.name == "events.out.tfevents.0.yanmo"
    assert "torch.utils.tensorboard" not in sys.modules
    assert os.uname().nodename.encode() not in path.read_bytes()


class Failing:
    def __init__(self, at):
        self.at = at

    def write(self, step, when, figures):
        if step == self.at:
            raise OSError(28, "No space left on device")

    def close(self, finished):
        raise AssertionError("closed after it failed")


def test_a_record_that_fails_is_told_once_and_costs_no_training(job, capsys, monkeypatch):
    made = kept(job, "a", "tensorboard", NAMES[0])
    monkeypatch.setattr(type(made.records[0]), "open", lambda self, folder, title: Failing(3))
    assert train(made).step == 6
    assert capsys.readouterr().err.count("no longer written ([Errno 28] No space left on device)") == 1
    assert [line["step"] for line in read(made.folder / "metrics.jsonl") if "loss" in line] == [1, 2, 3, 4, 5, 6]


def test_what_a_training_took_stands_in_its_folder(job, capsys):
    from yanmo.core.console import Console

    made = job("a", steps=3)
    made.console = Console()
    train(made)
    cost = files.read_json(made.folder / "cost.json")
    assert cost["joules"] >= 0
    assert cost["method"] in ("measured", "estimated")
    assert cost["tokens_per_second"] > 0
    assert "tokens a second" in capsys.readouterr().err


def test_the_recipe_names_the_records():
    assert [record.type for record in records_of(None)] == ["tensorboard"]
    assert records_of(build(Train, {"records": []}).records) == []
    given = build(Train, {"records": ["tensorboard", {"type": "wandb", "mode": "online", "project": "墨"}]}).records
    assert [(r.type, getattr(r, "mode", None)) for r in given] == [("tensorboard", None), ("wandb", "online")]
    assert [r.type for r in records_of(build(Train, {"records": "mlflow"}).records)] == ["mlflow"]
    with pytest.raises(RecipeError, match="unknown record 'tensorbored' - did you mean 'tensorboard'"):
        build(Train, {"records": ["tensorbored"]})


def test_records_are_no_part_of_what_a_run_is():
    from yanmo.core.fingerprint import settings_of

    assert settings_of(build(Train, {"steps": 3, "records": ["mlflow"], "country": "CHN"})) == settings_of(build(Train, {"steps": 3}))


def test_a_record_that_is_not_installed_is_named_before_the_work(monkeypatch):
    from yanmo.core import extras
    from yanmo.train.plan.decisions import check_settings

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pretrain.train.records: expected the library 'wandb', got not installed - pip install 'yanmo\[wandb\]'"):
        check_settings("pretrain", build(Train, {"records": ["wandb"]}), None, None)
