"""The fine-tuning stage: from a language model, or from nothing, to a model that labels texts.

    finetune/model/          the classifier, with its labels and tokenizer
             training.json   what was done, without timings

A language model gets a linear head on the hidden state of a text's last token and is trained whole, on the task's
training rows; the epoch that is best on the validation rows is kept. The baselines (majority class, TF-IDF) are fitted
on the same rows.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from yanmo.core import files
from yanmo.core.config import Part, PartOf, dump_part
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.stages.training import job_of, opened, summary, trained
from yanmo.train.settings import Train

if TYPE_CHECKING:
    from yanmo.core.data import Row
    from yanmo.models.base import LanguageModel
    from yanmo.models.classifier import Classifier
    from yanmo.objectives.base import Objective
    from yanmo.text.tokenizer import Tokenizer
    from yanmo.train.soundness.finding import Patient, Sample
    from yanmo.train.speed import Speed

LONGEST = 512  # tokens of a text, for models that take any
WHOLE = 1 << 40  # tokens: no text is as long
LR = 1e-3  # at width 256
HEAD = "supervised"


class FinetuneStage(Stage):
    """Makes a classifier of an earlier model, a model directory, or a part to start from."""

    takes: ClassVar[tuple[str, ...]] = ("model", "tokenizer")
    optional: ClassVar[frozenset[str]] = frozenset({"tokenizer"})
    gives: ClassVar[str] = "model"

    type: str = "finetune"
    model: Annotated[Part | str | None, PartOf("model")] = None  # a stage's name, a path, or a part; None: the nearest model
    tokenizer: str | None = None  # only for a part that reads tokens; a model brings its own
    task: Annotated[Any, PartOf("task")]
    objective: Annotated[Any, PartOf("objective")] = Field(default_factory=lambda: create("objective", HEAD))
    train: Train = Train()

    @property
    def together(self) -> bool:
        return getattr(self.model, "kind", "") != "classifier"

    @property
    def weight(self) -> float:
        if self.train.timed is False or getattr(self.model, "kind", "") == "classifier":
            return 0.0
        return 1.5

    def files(self) -> list[Path]:
        return self.task.files()

    def check(self) -> None:
        from yanmo.train.plan import check_settings

        if self.task.head != "classify":
            raise RequestError("finetune.task", text("a task that labels texts"), self.task.type)
        self.task.check()
        check_settings("finetune", self.train, None, None)

    def patient(self, run: Run, folder: Path, started: float, sample: Sample | None = None) -> Patient | None:
        """The training before its first step, planned; None for a baseline, which is only fitted."""
        if getattr(self.model, "kind", "") == "classifier":
            return None
        if sample is not None and sample.start is not None:
            start: Any = sample.start.build(), sample.start.tokenizer
        else:
            start = _start(run, self)
        return _patient(run, folder, self, started, *start)

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        started = time.monotonic()
        self.check()
        for concern in self.task.check():
            run.console.warn(f"{run.stage}: {concern}")
        if getattr(self.model, "kind", "") == "classifier":
            return fit(folder, self.model, self.task)
        found = self.patient(run, folder, started)
        assert found is not None
        return train_classifier(run, folder, self, found)


def fit(folder: Path, part: Any, task: Any) -> dict[str, str]:
    """A baseline, fitted on the training rows."""
    from yanmo.models.store import save

    examples = task.load("train")
    texts, labels = ([example.fields[name] for example in examples] for name in ("text", "label"))
    model = part.fit_texts(texts, labels, task.names())
    save(folder / "model", model, None, labels=task.names())
    return {"model": "model"}


def _patient(run: Run, folder: Path, stage: FinetuneStage, started: float, backbone: LanguageModel,
             tokenizer: Tokenizer) -> Patient:  # fmt: skip
    import torch

    from yanmo.models.classifier import Classifier
    from yanmo.objectives.base import Context
    from yanmo.train.batches import LabelledBatches
    from yanmo.train.soundness.finding import Labelled, Patient

    task, names = stage.task, stage.task.names()
    length = backbone.context or LONGEST
    examples = task.load("train")
    rows, lengths = _encoded(task, examples, tokenizer, length)
    cut = sum(n > length for n in lengths)
    objective = stage.objective.bind(Context(tokenizer, names))
    model = Classifier(backbone, len(names))
    model.initialise(torch.Generator().manual_seed(run.seed_for("head")))
    plan = run.plan(folder, lambda: _plan(run, stage, model, objective, rows, started) | {"cut_texts": cut})
    batches = LabelledBatches(rows, objective, plan["rows"], plan["micro_rows"], run.seed_for("rows"))
    labelled = Labelled(task, names, examples, rows, task.load("validation"), task.load("test"), length, lengths)
    return Patient(run.stage, stage.train, plan, objective, tokenizer, lambda: copy.deepcopy(model), batches, folder,
                   labelled=labelled, model=model, width=model.width)  # fmt: skip


def train_classifier(run: Run, folder: Path, stage: FinetuneStage, patient: Patient) -> dict[str, str]:
    import torch

    from yanmo.models.store import save
    from yanmo.train.batches import LabelledBatches
    from yanmo.train.validate import label_validation

    objective, tokenizer, labelled = patient.objective, patient.tokenizer, patient.labelled
    model: Any = patient.model
    assert labelled is not None
    task, names, rows, held_out = labelled.task, labelled.names, labelled.rows, labelled.held_out
    world, plan = opened(run, folder, stage.train, patient)
    if plan["cut_texts"]:
        run.console.warn(text("{stage}: {count} of {all} texts are longer than {length} tokens and are cut", stage=run.stage,
                              count=plan["cut_texts"], all=len(rows), length=labelled.length))  # fmt: skip
    model = world.place(model, torch.device(plan["device"]))
    run.console.log(text("{stage}: {count} labels, {rows} rows, {steps} steps of {batch} rows ({epochs} epochs)",
                         stage=run.stage, count=len(names), rows=len(rows), steps=plan["steps"], batch=plan["rows"],
                         epochs=plan["epochs"]))  # fmt: skip
    validate = None
    if held_out:
        encoded, _ = _encoded(task, held_out, tokenizer, labelled.length)
        validate = label_validation(model, objective, task, held_out, encoded, 64)
    batches = LabelledBatches(rows, objective, plan["rows"], plan["micro_rows"], run.seed_for("rows"))
    job = job_of(run, folder, stage.train, plan, model, objective, batches, validate, world)
    done = trained(run, job, patient)
    if done is None:
        return {}
    save(folder / "model", done.model, tokenizer, labels=names, deviations=done.deviations)
    files.write_json(folder / "training.json", summary(plan, done.state, folder))
    return {"model": "model", "training": "training.json"}


def _start(run: Run, stage: FinetuneStage) -> tuple[LanguageModel, Tokenizer]:
    """The language model to go on from, and its tokenizer."""
    import torch

    from yanmo.models.base import LanguageModel
    from yanmo.models.classifier import Classifier
    from yanmo.models.store import load
    from yanmo.text.tokenizer import Tokenizer

    place = f"{run.stage}.model"
    if stage.model is not None and not isinstance(stage.model, str):  # a part, to start from nothing
        if run.given("tokenizer") is None:
            raise RequestError(f"{run.stage}.tokenizer", text("an earlier stage that gives a {role}", role="tokenizer"),
                               text("none"))  # fmt: skip
        tokenizer = Tokenizer.load(run.take("tokenizer"))
        part: Any = stage.model
        fresh: LanguageModel = part.build(tokenizer, torch.Generator().manual_seed(run.seed_for("parameters")))
        return fresh, tokenizer
    loaded = load(run.take("model"))
    model = loaded.model.backbone if isinstance(loaded.model, Classifier) else loaded.model
    if not isinstance(model, LanguageModel) or model.width is None:
        raise RequestError(place, text("a model that can be trained further (a Transformer or an LSTM)"),
                           str(loaded.config.get("model_type")), text("name another stage or folder with 'model:'"))  # fmt: skip
    if loaded.tokenizer is None:
        raise RequestError(place, text("a model directory with its tokenizer"), str(loaded.folder))
    return model, loaded.tokenizer


def _plan(run: Run, stage: FinetuneStage, model: Classifier, objective: Objective, rows: list[Row],
          started: float) -> dict[str, Any]:  # fmt: skip
    from yanmo.train import plan as planning
    from yanmo.train.batches import LabelledBatches
    from yanmo.train.optimizers.groups import width_of
    from yanmo.train.precision import rule
    from yanmo.train.speed import measure

    optimizer: Any = stage.train.optim or create("optimizer", {"type": "adamw", "lr": LR})

    def speed(size: int) -> Speed:
        """Of the real step; the model's weights are put back."""
        device = planning.device_of(stage.train)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        batches = LabelledBatches(rows, objective, size, size, run.seed_for("probe"))
        form = stage.train.precision or rule(device)
        found = measure(model.to(device), objective, optimizer.make(model), batches, device, form, False)
        model.load_state_dict(before)
        return found

    average = sum(len(row.tokens) for row in rows) / len(rows)
    plan = planning.finetune(stage.train, len(rows), average, run.minutes if stage.weight else None, started, speed)
    schedule = stage.train.schedule or create("schedule", {"type": "cosine", "warmup": 0.1, "final": 0.0})
    return {**plan, "parameters": sum(p.numel() for p in model.parameters()),
            "optimizer": dump_part(optimizer.filled(width_of(model), len(rows))), "schedule": dump_part(schedule)}  # fmt: skip


def _encoded(task: Any, examples: list[Any], tokenizer: Tokenizer, length: int) -> tuple[list[Row], list[int]]:
    """One row an example, of at most `length` tokens, and how many tokens each text has when it is not cut."""
    rows, lengths = [], []
    for example in examples:
        row = task.encode(example, tokenizer, WHOLE)[0]
        lengths.append(len(row.tokens))
        rows.append(row if len(row.tokens) <= length else task.encode(example, tokenizer, length)[0])
    return rows, lengths
