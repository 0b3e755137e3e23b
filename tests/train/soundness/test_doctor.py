"""The doctor: it refuses each of these doomed trainings by the one examination that is there for it, and passes the sound ones.

Every doomed one has a twin that differs in what dooms it alone, and that the same examinations find sound.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.train.soundness.patients import CHINESE, SMALL, TRAIN, labelled, pretraining, text
from yanmo.core.console import Console
from yanmo.core.errors import RequestError, TrainingError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.core.registry import create
from yanmo.stages.check import check, lines
from yanmo.train.job import Job
from yanmo.train.plan import memory
from yanmo.train.soundness import doctor
from yanmo.train.soundness.finding import DOOMED, NOTE, VERDICTS, WARN

OTHERS = "tests.train.soundness.third_party"
LONG = text(60)
HELD = text(76)[60:]
ROWS = [(f"turn on the {place} light {i}", "on") for i, place in enumerate(["kitchen", "hall", "bath", "garden"] * 6)] + [
    (f"把{place}的灯关掉{i}", "off") for i, place in enumerate(["客厅", "厨房", "卧室", "书房"] * 6)]  # fmt: skip
CHECKED = [("turn on the attic lamp", "on"), ("把走廊的灯关掉", "off"), ("lights on in the cellar 💡", "on"), ("关上阳台灯", "off")]


def pre(**stage):
    """A pretraining on English and Chinese with these settings."""
    train, validation = stage.pop("texts", LONG), stage.pop("validation", HELD)
    return lambda folder: pretraining(folder, train, validation, **stage)


def fine(train=ROWS, validation=CHECKED, test=(), **settings):
    return lambda folder: labelled(folder, train, validation, test, **settings)


def settings(**train):
    return {"train": {**TRAIN, **train}}


def other_words(documents):
    """The same documents with one word of each changed."""
    return [body.replace("the", "a", 1).replace("，", "、", 1) + "!" for body in documents]


DOOMED_RUNS = {  # name: (examination, what it says, the doomed, its sound twin)
    "a warm-up longer than the training": (
        "schedule", "never leaves the warm-up", pre(**settings(schedule={"type": "cosine", "warmup": 50})),
        pre(**settings(schedule={"type": "cosine", "warmup": 3}))),
    "patience that never ends": (
        "flags", "fewer than the training's 3 validations, got 10", pre(**settings(patience=10)), pre(**settings(patience=2))),
    "a ruinous rate of AdamW": (
        "learning_rate", "about 0.011 for adamw at width 32, got 3", pre(**settings(optim={"type": "adamw", "lr": 3.0})),
        pre(**settings(optim={"type": "adamw", "lr": 0.01}))),
    "a ruinous rate of Muon": (
        "learning_rate", "for muon", pre(**settings(optim={"type": "muon", "lr": 5.0})), pre(**settings(optim={"type": "muon", "lr": 0.02}))),
    "a rate too small to move anything": (
        "learning_rate", "move a weight by", pre(**settings(optim={"type": "adamw", "lr": 1e-9})),
        pre(**settings(optim={"type": "adamw", "lr": 1e-3}))),
    "a context longer than the text": (
        "enough_text", "at most the", pre(texts=CHINESE[:1], objective={"type": "causal", "context": 512}),
        pre(objective={"type": "causal", "context": 512}, train={"steps": 9, "batch_tokens": 512})),
    "patience without validation text": (
        "held_out", "text in the validation split, got none", pre(validation=[], **settings(patience=2)), pre(**settings(patience=2))),
    "patience by less than a row of validation text": (
        "held_out", "at least one row", pre(validation=["短。"], **settings(patience=2)), pre(**settings(patience=2))),
    "validation text that is trained on": (
        "overlap", "100% of it", pre(validation=LONG[10:14]), pre(validation=HELD)),
    "a tokenizer that does not know Chinese": (
        "vocabulary", "unknown to it", pre(texts=text(40, "zh"), validation=text(48, "zh")[40:], learned=text(40, "en"),
                                           tokenizer={"type": "wordpiece"}),
        pre(texts=text(40, "zh"), validation=text(48, "zh")[40:], tokenizer={"type": "wordpiece"})),
    "the end of a text is never trained": (
        "trained_tokens", "would never stop", pre(objective={"type": f"{OTHERS}:NeverEnds", "context": 32}), pre()),
    "rows with nothing to learn": (
        "trained_tokens", "rows have none", pre(objective={"type": f"{OTHERS}:Nothing", "context": 32}), pre()),
    "a masked objective for a model that reads from left to right": (
        "objective", "a model of the kind masked", pre(objective={"type": "masked", "context": 32}, tokenizer={"type": "characters", "special": ["<mask>"]}),
        pre(objective={"type": "masked", "context": 32}, model={"type": "bert", "depth": 1, "width": 32, "heads": 2},
            tokenizer={"type": "characters", "special": ["<mask>"]})),
    "more checkpoints than the disk holds": ("disk", "free on the disk", pre(**settings(keep=10**9)), pre(**settings(keep=3))),
    "one text, two labels": (
        "contradictions", "training texts have two", fine([*ROWS, *((body, "on" if label == "off" else "off") for body, label in ROWS[::2])]), fine()),
    "a label that is only asked for": (
        "classes", "no training row has the label 'dim'", fine(validation=[*CHECKED, ("调暗客厅的灯", "dim")], task={"labels": ["on", "off", "dim"]}),
        fine([*ROWS, ("调暗厨房的灯", "dim"), ("dim the light", "dim")], validation=[*CHECKED, ("调暗客厅的灯", "dim")])),
    "one label alone": (
        "classes", "only 'on'", fine([row for row in ROWS if row[1] == "on"], [CHECKED[0]], task={"labels": ["on", "off"]}), fine()),
    "validation rows that are trained on": ("leakage", "4 of 4 also stand", fine(validation=ROWS[:2] + ROWS[-2:]), fine()),
    "test rows that are trained on but for marks and case": (
        "leakage", "test texts", fine(test=[("Turn on the KITCHEN light, 0!", "on"), ("把客厅的灯，关掉０。", "off")]), fine(test=CHECKED[:2])),
    "patience without validation rows": (
        "validation_rows", "rows in the validation split, got none", fine(validation=(), patience=2), fine(patience=2)),
    "texts that are mostly cut off": (
        "truncation", "of all tokens are cut off", fine([(body * 6, label) for body, label in ROWS], model={**SMALL, "context": 32}),
        fine(model={**SMALL, "context": 32})),
    "rows that are rendered otherwise than in use": (
        "rendering", "differ", fine(task={"type": f"{OTHERS}:Doubled"}), fine()),
}  # fmt: skip


def doomed(findings):
    return {found.examination for found in findings if found.verdict == DOOMED}


@pytest.mark.parametrize("name", DOOMED_RUNS)
def test_a_doomed_training_is_caught_by_its_examination_alone(name, tmp_path):
    examination, said, ill, sound = DOOMED_RUNS[name]
    findings = doctor.examine(ill(tmp_path / "ill"))
    assert doomed(findings) == {examination}, [f.line() for f in findings if f.verdict == DOOMED]
    line = next(found.line("en") for found in findings if found.verdict == DOOMED)
    assert said in line
    with pytest.raises(RequestError, match="or go on with --force"):
        doctor.admit(findings, Console(quiet=True), "pretrain", tmp_path, False)
    twin = doctor.examine(sound(tmp_path / "sound"))
    assert not doomed(twin), [f.line() for f in twin if f.verdict == DOOMED]
    assert examination in {found.examination for found in twin} or examination == "flags", "it was examined, and found sound"


def test_validation_text_that_is_trained_on_but_for_a_word_is_said(tmp_path):
    (found,) = doctor.named("overlap", pretraining(tmp_path, LONG, other_words(LONG[20:32])))
    assert found.verdict == WARN
    assert found.figures["exact"] == 0
    assert found.figures["near"] > 0.5
    assert "also stands in the training text" in found.line("en")


def begun(patient):
    """The job of a patient, as the stage would begin it."""
    plan, model = patient.plan, patient.build()
    return Job(model, patient.objective, patient.batches, create("optimizer", plan["optimizer"]).make(model),
               create("schedule", plan["schedule"]), plan["steps"], patient.folder, 0, console=Console(quiet=True))  # fmt: skip


@pytest.mark.parametrize(("kind", "examination", "said"), [("LeakyModel", "leak", "do not see each other"),
                                                           ("BrokenModel", "first_pass", "a finite loss and gradient")])  # fmt: skip
def test_what_only_a_trial_shows(kind, examination, said, tmp_path):
    sizes = {**SMALL, "context": 32}
    for type_, expected in ((f"{OTHERS}:{kind}", {examination}), ("transformer", set())):
        patient = pretraining(tmp_path / type_.replace(":", "."), LONG, HELD, model={**sizes, "type": type_})
        assert not doomed(doctor.examine(patient))
        job = begun(patient)
        before = {name: value.clone() for name, value in job.model.state_dict().items()}
        state = torch.random.get_rng_state()
        findings = doctor.attempt(doctor.Trial("pretrain", job, patient.memory))
        assert doomed(findings) == expected
        assert all(said in found.line("en") for found in findings if found.verdict == DOOMED)
        assert all(torch.equal(value, before[name]) or kind == "BrokenModel" for name, value in job.model.state_dict().items())
        assert all(p.grad is None for p in job.model.parameters())
        assert torch.equal(state, torch.random.get_rng_state()), "the training draws what it would have drawn"


def test_a_training_that_does_not_fit_in_memory_is_refused_with_what_would(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    for name, value in (("max", "200000000"), ("current", "0"), ("stat", "inactive_file 0")):
        (tmp_path / f"memory.{name}").write_text(value)
    large = {"type": "transformer", "depth": 4, "width": 1024}
    findings = doctor.examine(pretraining(tmp_path / "a", LONG, HELD, model=large))
    assert doomed(findings) == {"memory"}
    found = next(found for found in findings if found.examination == "memory")
    assert "train a smaller model" in found.line("en")
    assert found.figures["peak"] > 4 * found.figures["parameters"] > 200e6
    wide = {"train": {**TRAIN, "batch_tokens": 65536, "micro_tokens": 65536}, "objective": {"type": "causal", "context": 256}}
    findings = doctor.examine(pretraining(tmp_path / "b", LONG, HELD, model={**SMALL, "width": 128}, **wide))
    assert doomed(findings) == {"memory"}
    line = next(found.line("en") for found in findings if found.examination == "memory")
    tokens = int(line.split("train.micro_tokens to ")[1].split()[0])
    wide["train"]["micro_tokens"] = tokens
    assert not doomed(doctor.examine(pretraining(tmp_path / "c", LONG, HELD, model={**SMALL, "width": 128}, **wide))), "as it advised"


def test_tokens_of_another_vocabulary_are_seen(tmp_path):
    patient = pretraining(tmp_path / "a", LONG, HELD)
    assert not doomed(doctor.examine(patient))
    patient.vocabulary = 20
    patient.tokenizer.size = 20
    (found,) = doctor.named("vocabulary", patient)
    assert (found.verdict, found.line("en").split(" - ")[0]) == (DOOMED, "pretrain.tokenizer: expected token ids from 0 to 19, got "
                                                                         f"{int(patient.split.tokens.max())}")  # fmt: skip
    patient = labelled(tmp_path / "b", ROWS, CHECKED)
    patient.model.backbone.vocabulary = 30
    (found,) = doctor.named("tokenizer", patient)
    assert found.verdict == DOOMED
    assert "at most 30 tokens, as many as the model has" in found.line("en")


SOUND_RUNS = {
    "a Transformer on two languages": pre(),
    "a Transformer by Muon, with patience": pre(**settings(optim="muon", patience=2)),
    "an LSTM": pre(model={"type": "lstm", "depth": 1, "width": 32}),
    "an LSTM that carries its state": pre(model={"type": "lstm", "depth": 1, "width": 32}, objective={"type": "causal", "context": 32, "carry": True}),
    "a GRU on Chinese": pre(texts=text(60, "zh"), validation=text(70, "zh")[60:], model={"type": "gru", "depth": 1, "width": 32}),
    "a convolution that labels": fine(model={"type": "cnn", "embedding": 32, "filters": 16}),
    "BERT": pre(model={"type": "bert", "depth": 1, "width": 32, "heads": 2}, objective={"type": "masked", "context": 32},
                tokenizer={"type": "characters", "special": ["<mask>"]}),
    "XLNet": pre(model={**SMALL, "architecture": "encoder", "embedding": {"query": True}}, objective={"type": "permuted", "context": 32}),
    "T5 on English": pre(texts=text(60, "en"), validation=text(70, "en")[60:], model={"type": "t5", "depth": 1, "width": 32, "heads": 2},
                         objective={"type": "span_corruption", "context": 32},
                         tokenizer={"type": "characters", "special": [f"<extra_id_{i}>" for i in range(12)]}),
    "experts": pre(model={**SMALL, "mlp": {"type": "experts"}}),
    "a BPE vocabulary": pre(tokenizer={"type": "bpe", "size": 600}),
    "a classifier from nothing": fine(),
    "a classifier with rows to test": fine(test=[("turn on the last lamp", "on"), ("把最后一盏灯关掉", "off")], patience=2),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND_RUNS)
def test_a_sound_training_passes_without_a_word(name, tmp_path):
    patient = SOUND_RUNS[name](tmp_path)
    findings = doctor.examine(patient) + doctor.attempt(doctor.Trial(patient.where, begun(patient), patient.memory))
    assert doctor.worst(findings) in VERDICTS[: VERDICTS.index(NOTE) + 1], [f.line() for f in findings if f.verdict in (WARN, DOOMED)]
    assert {"memory", "schedule", "first_pass"} <= {found.examination for found in findings}
    json.dumps([found.data() for found in findings])
    doctor.admit(findings, Console(quiet=True), patient.where, tmp_path, False)


# ------------------------------------------------------------------------------------------------ in a run, and before one


def recipe(folder, **overrides):
    rows = [{"text": body} for body in text(80)]
    Path("data.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    train = {**TRAIN, **overrides}
    Path("r.yaml").write_text(json.dumps({"name": "r", "stages": [
        {"corpus": {"source": {"type": "jsonl", "path": "data.jsonl"}, "validation": 0.2}}, {"tokenizer": {"type": "characters"}},
        {"pretrain": {"model": SMALL, "objective": {"type": "causal", "context": 32}, "train": train}}]}), encoding="utf-8")  # fmt: skip
    return "r.yaml"


def test_a_run_refuses_what_is_doomed_and_force_goes_on(folder, capsys):
    path = recipe(folder, optim={"type": "adamw", "lr": 3.0})
    with pytest.raises(RequestError, match=r"pretrain.train.optim.lr.*--force"):
        execute(load(path), "runs/r", console=Console(quiet=True))
    assert not (folder / "runs/r/pretrain/model").exists()
    execute(load(path), "runs/r", console=Console(quiet=True), force=True)
    assert (folder / "runs/r/pretrain/model/model.safetensors").is_file()
    said = capsys.readouterr().err
    assert "1 reasons to refuse it; forced, it goes on" in said
    assert "pretrain.train.optim.lr" in said


def test_a_refusal_keeps_the_checkpoints_that_are_there(tmp_path):
    (tmp_path / "checkpoints" / "step-00000003").mkdir(parents=True)
    findings = doctor.examine(pretraining(tmp_path / "a", LONG, HELD, **settings(optim={"type": "adamw", "lr": 3.0})))
    with pytest.raises(TrainingError):  # not a RequestError, after which the stage's folder is cleared
        doctor.admit(findings, Console(quiet=True), "pretrain", tmp_path, False)


@pytest.mark.parametrize(("change", "said"), [({"optim": {"type": "adamw", "lr": -1.0}}, "a number above 0"), ({"minutes": 0, "steps": None}, "a number above 0"),
                                              ({"patience": 9}, "never stops it")])  # fmt: skip
def test_check_says_what_is_wrong_before_anything_has_run(folder, change, said):
    report = check(recipe(folder, **change))
    assert not report["ok"]
    assert any(said in problem for problem in report["problems"]), report["problems"]
    assert not (folder / "runs").exists()


def test_check_foresees_what_a_run_then_does(folder):
    path = recipe(folder)
    before = sorted(p.name for p in folder.iterdir())
    report = check(path)
    assert report["ok"], report["problems"]
    assert sorted(p.name for p in folder.iterdir()) == before
    json.dumps(report)
    plan, seen = report["plan"], report["trainings"]["pretrain"]
    execute(load(path), "runs/r", console=Console(quiet=True))
    made = json.loads(Path("runs/r/pretrain/plan.json").read_text())
    assert seen["steps"] == made["steps"]
    assert plan["parameters"] == pytest.approx(made["parameters"], rel=0.05)
    assert plan["memory_bytes"] > 4 * 4 * plan["parameters"]
    assert 0 < plan["seconds"] < 60
    assert plan["joules"] > 0
    assert plan["energy"] in ("measured", "estimated")
    shown = "\n".join(lines(report))
    assert "position rotary" in shown, "the settings that are in effect"
    assert "parameters, 9 steps; about" in shown
    again = check(path)  # now on the run's own outputs
    assert again["ok"]
    assert "pretrain" not in again["trainings"], "it has run"


def test_every_examination_has_a_doomed_run_or_says_only_what_is_worth_knowing():
    refuses = {examination for examination, *_ in DOOMED_RUNS.values()} | {"memory", "tokenizer", "leak", "first_pass"}
    assert set(doctor.EXAMINATIONS) | set(doctor.TRIALS) == refuses | {"repetitions", "precision", "template"}
    assert len(DOOMED_RUNS) >= 20
    assert len(SOUND_RUNS) >= 10


def test_english_and_chinese_are_there():
    assert any("\u4e00" <= c <= "\u9fff" for c in "".join(LONG))
    assert len(set(LONG + HELD)) == len(LONG + HELD) == 76
