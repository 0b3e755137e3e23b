"""A short trial of one model on a task: tuned for some seconds by the stage that tunes models, then asked.

    training rows    a sample of the task's; an eighth of them chooses the epoch
    scored on        validation examples that no candidate was trained on or chosen by, the same for all; never test data

So what is chosen by a trial leaves the test data as it was.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.data import Example
from yanmo.core.errors import DataError, RequestError, YanmoError
from yanmo.core.messages import Text, text
from yanmo.core.registry import create
from yanmo.core.run import Run
from yanmo.evaluate.head import head_of
from yanmo.evaluate.measure import Answer
from yanmo.stages.candidates import Candidate
from yanmo.tasks.labelled import labels_of
from yanmo.text.bpe import letters
from yanmo.text.language import language
from yanmo.text.report import density
from yanmo.text.tokenizer import Tokenizer

LEAST, FEW = 16, 8  # training rows and scored examples of the smallest data that says anything
CHOOSING = 8  # one in so many of the sampled training rows chooses the epoch
WARM = 4  # examples answered before the clock runs
MOST = 400  # texts that tokenizers are measured on
SILENT = frozenset({"label", "labels", "group", "spans", "id", "role", "language"})  # fields that no tokenizer reads


class Notes(Console):
    """Keeps what a training warns of, and shows nothing."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def warn(self, message: str | Text) -> None:
        self.lines.append(str(message))


@dataclass(frozen=True)
class Sample:
    """What every candidate is given: `task` with a sample of its training rows, `scored` to answer, of `whole` training rows."""

    task: Any
    scored: list[Example]
    rows: int
    whole: int
    texts: list[str]


def sample_of(task: Any, rows: int, examples: int, seed: int) -> Sample:
    """At most `rows` training rows and `examples` scored ones, drawn by the seed; every label that has a row keeps one.
    DataError for data too small to tell models apart by."""
    train, held = task.load("train"), task.load("validation")
    if len(train) < LEAST or len(held) < FEW:
        place = ", ".join(map(str, task.files()[:3])) or task.type
        raise DataError(place, text("at least {least} training and {few} validation examples, to try models on", least=LEAST,
                                    few=FEW),
                        text("{train} and {held}", train=len(train), held=len(held)),
                        text("give more rows, or a 'validation' file of their own"))  # fmt: skip
    drawn = _drawn(train, rows, random.Random(seed))
    fitted, choosing = _divided(drawn)
    chosen = {"train": fitted, "validation": choosing, "test": []}
    scored = random.Random(seed + 1).sample(held, min(examples, len(held)))
    texts = [each for example in fitted[:MOST] for each in texts_of(example.fields)]
    return Sample(_sampled(task, chosen), scored, len(fitted), len(train), texts)


def _drawn(train: list[Example], rows: int, rng: random.Random) -> list[Example]:
    """A sample, the first rows of it one of each label where rows have labels."""
    order = rng.sample(train, len(train))
    first: list[Example] = []
    seen: set[str] = set()
    for example in order:
        fresh = set(labels_of(example)) - seen if {"label", "labels"} & set(example.fields) else set()
        if fresh:
            seen |= fresh
            first.append(example)
    taken = {id(example) for example in first}
    return [*first, *(e for e in order if id(e) not in taken)][: max(rows, len(first))]


def _divided(drawn: list[Example]) -> tuple[list[Example], list[Example]]:
    """(rows to train on, rows that choose the epoch), of which none says what one of the others says."""
    from yanmo.train.soundness.labels import alike, asked

    count = len(drawn) // CHOOSING
    fitted = drawn[: len(drawn) - count]
    known = {alike(asked(example)) for example in fitted}
    labels = {label for example in fitted for label in _labels(example)}
    return fitted, [e for e in drawn[len(fitted) :] if alike(asked(e)) not in known and labels >= set(_labels(e))]


def _labels(example: Example) -> tuple[str, ...]:
    return labels_of(example) if {"label", "labels"} & set(example.fields) else ()


def _sampled(task: Any, chosen: dict[str, list[Example]]) -> Any:
    """The same task, which gives these examples instead of all; its labels stay those of all its data."""

    def load(self: Any, split: str = "test") -> list[Example]:
        return list(chosen[split])

    kind = type(task)
    made = type(kind.__name__, (kind,), {"load": load, "__module__": kind.__module__, "__doc__": kind.__doc__})
    settings = {name: getattr(task, name) for name in kind.model_fields}
    if task.head in ("classify", "labels"):
        settings["labels"] = task.names()  # known here: the files are not read again for each candidate
    return made(**settings)


def texts_of(value: Any) -> Iterator[str]:
    """Every text of an example's fields that a model reads or writes, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inside in value.items():
            if name not in SILENT:
                yield from texts_of(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from texts_of(inside)


# ---------------------------------------------------------------------------------------------- tokenizers


def own_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """For models from nothing: characters where most of the texts are Chinese, else byte pairs as many as the texts support."""
    read = list(texts)
    chinese = sum(len(body) for body in read if language(body) == "zh")
    part = create("tokenizer", "characters" if 2 * chinese > sum(map(len, read)) else "bpe")
    size = sum(len(body.encode("utf-8", "replace")) for body in read)
    made: Tokenizer = part.train(iter(read), at_most=part.open_size(size, None, letters(read)))
    return made


def fertility(tokenizer: Tokenizer, texts: list[str]) -> dict[str, Any]:
    """{size, bytes_per_token, unknown, languages: {zh: {tokens_per_han …}, en: {tokens_per_word …}}} on these texts."""
    by_language = density(tokenizer, texts)
    tokens = sum(each["tokens"] for each in by_language.values())
    lost = sum((each["unknown"] or 0.0) * each["tokens"] for each in by_language.values())
    size = sum(each["bytes"] for each in by_language.values())
    return {"size": tokenizer.size, "bytes_per_token": round(size / tokens, 3) if tokens else None,
            "unknown": round(lost / tokens, 6) if tokens else None, "languages": by_language}  # fmt: skip


# ---------------------------------------------------------------------------------------------- the trial


@dataclass
class Trial:
    """What came of one candidate; `reason` where it cannot do the task, and then nothing else is known."""

    candidate: Candidate
    reason: str | None = None
    lines: list[Answer] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def try_out(candidate: Candidate, sample: Sample, tokenizer: Path, place: Path, length: dict[str, Any], seed: int = 0) -> Trial:
    """Tunes the candidate in the folder `place` and asks it. `length`: the keys of `train` that say how long."""
    notes = Notes()
    trial = Trial(candidate, notes=notes.lines)
    began = time.monotonic()
    try:
        trial.figures = _tuned(candidate, sample, tokenizer, place, length, seed, notes)
        trial.figures["trial_seconds"] = round(time.monotonic() - began, 3)
        _ask(trial, sample, place / "model")
    except YanmoError as error:
        trial.reason = str(error)
    return trial


def _tuned(candidate: Candidate, sample: Sample, tokenizer: Path, place: Path, length: dict[str, Any], seed: int,
           notes: Notes) -> dict[str, Any]:  # fmt: skip
    """The stage's own work on the sample, and what it took."""
    from yanmo.models.base import ModelPart
    from yanmo.stages.finetune import FinetuneStage, tune

    part: Any = candidate.part
    if candidate.unfit(sample.task):
        raise RequestError("finetune.model", text("a model for the task '{task}'", task=sample.task.type), str(part.type))
    if candidate.kind == "scratch" and type(part).build is ModelPart.build:  # one that counts
        expected = text("a model that can be trained further (a Transformer or an LSTM)")
        raise RequestError("finetune.model", expected, str(part.type))
    train: dict[str, Any] = {"records": [], **length}
    if candidate.rate is not None:
        train["optim"] = {"type": "adamw", "lr": candidate.rate}
    stage: FinetuneStage = create("stage", {"type": "finetune", "task": sample.task, "train": train,
                                            "model": candidate.part or str(candidate.folder)})  # fmt: skip
    inputs = {"tokenizer": [tokenizer]} if candidate.part else {"model": [Path(str(candidate.folder))]}
    run = Run(place.parent, seed, notes, stage=candidate.name, inputs=inputs)
    place.mkdir(parents=True)
    stage.check()
    if stage.fitted:
        return _fitted(stage, sample, place)
    started = time.monotonic()
    patient = stage.patient(run, place, started)
    assert patient is not None
    assert patient.labelled is not None
    tune(run, place, stage, patient)
    rows, plan = len(patient.labelled.rows), patient.plan
    done = files.read_json(place / "training.json")["steps"]
    each = seconds_a_step(place / "metrics.jsonl")
    speed = plan["rows"] / each
    known = patient.memory
    return {"steps": done, "epochs": round(done * plan["rows"] / rows, 3), "samples_per_second": round(speed, 3),
            "memory_bytes": known.peak if known else None, "memory": "planned" if known else "unknown",
            "full_seconds": round(full(rows / sample.rows * sample.whole, speed), 1),
            "precision": plan["precision"], "device": plan["device"]}  # fmt: skip


def _fitted(stage: Any, sample: Sample, place: Path) -> dict[str, Any]:
    """A baseline, fitted in one go; what the process grew by is its memory."""
    from yanmo.stages.tuning.tuning import tuning_of
    from yanmo.train.plan import memory

    memory.begin_peak()
    before, began = memory.resident(), time.perf_counter()
    tuning_of(stage.task).fit(place, stage.model, stage.task)
    seconds, after = time.perf_counter() - began, memory.peak()
    grown = max(0, after - before) if after is not None and before is not None else None
    return {"steps": None, "epochs": None, "samples_per_second": round(sample.rows / max(seconds, 1e-6), 3),
            "memory_bytes": grown, "memory": "measured" if grown is not None else "unknown",
            "full_seconds": round(seconds * sample.whole / sample.rows, 1)}  # fmt: skip


def seconds_a_step(metrics: Path) -> float:
    """The median time between two steps of a training: what lies between some of them (validations) is no step's."""
    from yanmo.train.records.metrics import read

    ends = [line["seconds"] for line in read(metrics) if "seconds" in line and "validation" not in line]
    assert ends, f"{metrics} has no steps"
    between = [after - before for before, after in pairwise(ends)]
    return max(statistics.median(between) if between else ends[0], 1e-6)


def full(rows: float, speed: float) -> float:
    """Seconds of a tuning on `rows` rows for as many epochs as `finetune` takes by rule, validations not counted."""
    from yanmo.train.plan.decisions import FINETUNE_EPOCHS

    return FINETUNE_EPOCHS * rows / speed


def _ask(trial: Trial, sample: Sample, folder: Path) -> None:
    """The tuned model's answers, how long they take, and what its tokenizer makes of the texts."""
    from yanmo.evaluate.subjects import parameters
    from yanmo.inference.model import Model

    model = Model.open(folder)
    head = head_of(sample.task)
    task = head.suited(sample.task, model)
    reason = head.unfit(model, task)
    if reason is not None:
        trial.reason = str(reason)
        return
    head.answer(model, task, sample.scored[:WARM])
    began = time.perf_counter()
    trial.lines = head.answer(model, task, sample.scored)
    seconds = time.perf_counter() - began
    loaded = model.loaded
    trial.figures |= {"seconds_per_1000": round(1000 * seconds / len(sample.scored), 4), "parameters": parameters(loaded.model),
                      "tokenizer": None if loaded.tokenizer is None else fertility(loaded.tokenizer, sample.texts)}  # fmt: skip


def known_labels(candidate: Candidate) -> bool:
    """Whether a trained model was tuned for labels or tags before: perhaps on these very rows."""
    from yanmo.models.store import read_config, resolve

    return candidate.folder is not None and bool(read_config(resolve(candidate.folder)).get("id2label"))

