"""The fine-tuning stage: from a language model, or from nothing, to a model that does a task.

    finetune/model/          the model, with its tokenizer and, where it has some, its labels
             adapter/        where one was trained beside a model: the adapter alone
             training.json   what was done, without timings

What the task's head asks for (a label for the text, a tag for each token, the ends of an answer, a text) says
`stages/tuning/`. The whole model is trained on the task's training rows; the epoch that is best on the validation rows is
kept. Baselines (majority class, TF-IDF …) are fitted on the same rows.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import model_validator

from yanmo.core import files
from yanmo.core.config import Part, PartOf, dump_part
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import create, lookup, names
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.stages.training import job_of, opened, summary, trained
from yanmo.train.settings import Train

if TYPE_CHECKING:
    from yanmo.core.data import Row
    from yanmo.models.base import LanguageModel
    from yanmo.objectives.base import Objective
    from yanmo.text.tokenizer import Tokenizer
    from yanmo.train.batches import LabelledBatches
    from yanmo.train.plan.speed import Speed
    from yanmo.train.soundness.finding import Patient, Sample

LONGEST = 512  # tokens of a text, for models that take any


class FinetuneStage(Stage):
    """Makes a model that does a task, of an earlier model, a model directory, or a part to start from."""

    version: ClassVar[int] = 2  # the learning rate by what is tuned; a reader's threshold
    takes: ClassVar[tuple[str, ...]] = ("model", "tokenizer")
    optional: ClassVar[frozenset[str]] = frozenset({"tokenizer"})
    gives: ClassVar[str] = "model"

    type: str = "finetune"
    model: Annotated[Part | str | None, PartOf("model")] = None  # a stage's name, a path, or a part; None: the nearest model
    tokenizer: str | None = None  # only for a part that reads tokens; a model brings its own
    task: Annotated[Any, PartOf("task")]
    objective: Annotated[Any, PartOf("objective")] = None  # None: what trains models for such a task
    adapter: Annotated[Part | None, PartOf("adapter")] = None  # None: the whole model is trained
    train: Train = Train()

    @model_validator(mode="wrap")
    @classmethod
    def _by_head(cls, values: Any, handler: Any) -> Any:
        """The objective by the task's head, where none is given."""
        head = getattr(values.get("task"), "head", None) if isinstance(values, dict) else None
        if head not in names("tuning") or values.get("objective") is not None:
            return handler(values)
        return handler({**values, "objective": create("objective", lookup("tuning", head).objective)})

    @property
    def fitted(self) -> bool:
        """Whether the model is a baseline, which is fitted in one go."""
        return bool(getattr(self.model, "tasks", ()))

    @property
    def together(self) -> bool:
        return not self.fitted

    @property
    def weight(self) -> float:
        return 0.0 if self.train.timed is False or self.fitted else 1.5

    def files(self) -> list[Path]:
        return self.task.files()

    def check(self) -> None:
        from yanmo.stages.tuning.tuning import tuning_of
        from yanmo.train.plan.decisions import check_settings

        tuning_of(self.task)
        if isinstance(self.model, Part) and self.fitted and self.task.type not in getattr(self.model, "tasks", ()):
            raise RequestError("finetune.model", text("a model for the task '{task}'", task=self.task.type), self.model.type)
        if self.adapter is not None and isinstance(self.model, Part):
            raise RequestError("finetune.adapter", text("a model that was trained before, beside which an adapter learns"),
                               str(self.model.type))  # fmt: skip
        if self.adapter is not None and getattr(self.objective, "crf", False):
            raise RequestError("finetune.objective.crf", text("the whole model trained, as adapters' files hold no transitions"),
                               str(self.adapter.type), text("leave out 'crf' or 'adapter'"))  # fmt: skip
        self.task.check()
        check_settings("finetune", self.train, None, None)

    def patient(self, run: Run, folder: Path, started: float, sample: Sample | None = None) -> Patient | None:
        """The training before its first step, planned; None for a baseline, which is only fitted."""
        if self.fitted:
            return None
        if sample is not None and sample.start is not None:
            start: Any = sample.start.build(), sample.start.tokenizer
        else:
            start = _start(run, self)
        return _patient(run, folder, self, started, *start)

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        from yanmo.stages.tuning.tuning import tuning_of

        started = time.monotonic()
        self.check()
        for concern in self.task.check():
            run.console.warn(f"{run.stage}: {concern}")
        if self.fitted:
            return tuning_of(self.task).fit(folder, self.model, self.task)
        found = self.patient(run, folder, started)
        assert found is not None
        return tune(run, folder, self, found)


def _patient(run: Run, folder: Path, stage: FinetuneStage, started: float, backbone: LanguageModel,
             tokenizer: Tokenizer) -> Patient:  # fmt: skip
    import torch

    from yanmo.models.adapter import copied
    from yanmo.stages.tuning.tuning import tuning_of
    from yanmo.train.soundness.finding import Labelled, Patient

    task, tuning = stage.task, tuning_of(stage.task)
    labels = tuning.names(task)
    model: Any = tuning.build(backbone, task, torch.Generator().manual_seed(run.seed_for("head")), stage.objective)
    if stage.adapter is not None:
        part: Any = stage.adapter
        model = part.apply(model, torch.Generator().manual_seed(run.seed_for("adapter")))
    length = model.context or LONGEST
    examples = task.load("train")
    rows, lengths = tuning.rows(task, examples, tokenizer, length)
    cut = sum(n > length for n in lengths)
    objective = tuning.bind(stage.objective, task, tokenizer, backbone)
    objective.check(model)
    plan = run.plan(folder, lambda: _plan(run, stage, model, objective, rows, started) | {"cut_texts": cut})
    batches = batches_of(run, rows, objective, plan)
    labelled = Labelled(task, labels, examples, rows, task.load("validation"), task.load("test"), length, lengths)
    return Patient(run.stage, stage.train, plan, objective, tokenizer, lambda: copied(model), batches, folder,
                   labelled=labelled, model=model, width=model.width)  # fmt: skip


def tune(run: Run, folder: Path, stage: FinetuneStage, patient: Patient) -> dict[str, str]:
    import torch

    from yanmo.models.store import save
    from yanmo.stages.tuning import adapter, rate
    from yanmo.stages.tuning.tuning import tuning_of

    objective, tokenizer, labelled = patient.objective, patient.tokenizer, patient.labelled
    model: Any = patient.model
    assert labelled is not None
    task, labels, rows, held_out = labelled.task, labelled.names, labelled.rows, labelled.held_out
    tuning = tuning_of(task)
    world, plan = opened(run, folder, stage.train, patient)
    if plan["cut_texts"]:
        run.console.warn(text("{stage}: {count} of {all} texts are longer than {length} tokens and are cut", stage=run.stage,
                              count=plan["cut_texts"], all=len(rows), length=labelled.length))  # fmt: skip
    model = world.place(model, torch.device(plan["device"]))
    told = {"stage": run.stage, "rows": len(rows), "steps": plan["steps"], "batch": plan["rows"], "epochs": plan["epochs"]}
    if labels:
        run.console.log(text("{stage}: {count} labels, {rows} rows, {steps} steps of {batch} rows ({epochs} epochs)",
                             count=len(labels), **told))  # fmt: skip
    else:
        run.console.log(text("{stage}: {rows} rows, {steps} steps of {batch} rows ({epochs} epochs)", **told))
    if stage.adapter is not None:
        run.console.log(adapter.said(run.stage, plan))
    told_rate = rate.said(run, stage, plan)
    if told_rate is not None:
        run.console.log(told_rate)
    validate = None
    if held_out:
        validate = tuning.validate(model, objective, task, held_out, tokenizer, labelled.length)
    batches = batches_of(run, rows, objective, plan)
    job = job_of(run, folder, stage.train, plan, model, objective, batches, validate, world)
    done = trained(run, job, patient)
    if done is None:
        return {}
    files.write_json(folder / "training.json", summary(plan, done.state, folder))
    extra = tuning.extra(task, done.model, tokenizer, held_out, labelled.length, run.console.log)
    if stage.adapter is not None:
        base = adapter.base_of(run, folder, stage.model)
        made = adapter.save(run, folder, stage.adapter, done.model, base, tokenizer, labels, extra)
    else:
        save(folder / "model", tuning.kept(done.model), tokenizer, labels=labels, extra=extra, deviations=done.deviations)
        made = {"model": "model"}
    tuning.beside(task, tokenizer, folder / made["model"])
    return made | {"training": "training.json"}


def _start(run: Run, stage: FinetuneStage) -> tuple[LanguageModel, Tokenizer]:
    """The language model to go on from, and its tokenizer."""
    import torch

    from yanmo.inference.model import start_of
    from yanmo.models.base import LanguageModel
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
    model = getattr(loaded.model, "backbone", loaded.model)
    if not isinstance(model, LanguageModel) or model.width is None:
        raise RequestError(place, text("a model that can be trained further (a Transformer or an LSTM)"),
                           str(loaded.config.get("model_type")), text("name another stage or folder with 'model:'"))  # fmt: skip
    if loaded.tokenizer is None:
        raise RequestError(place, text("a model directory with its tokenizer"), str(loaded.folder))
    model.made_by = (loaded.config.get("yanmo") or {}).get("objective")  # how it is read, where not plainly
    if model.kind == "encoder-decoder":
        model.starts = start_of(loaded)
    return model, loaded.tokenizer


def batches_of(run: Run, rows: list[Row], objective: Objective, plan: dict[str, Any], purpose: str = "rows") -> LabelledBatches:
    """The steps of a plan. Its micro-batches hold so many rows of the usual length, and fewer of long ones."""
    from yanmo.train.batches import LabelledBatches

    return LabelledBatches(rows, objective, plan["rows"], plan["micro_rows"], run.seed_for(purpose), plan["micro_padded"])


def _plan(run: Run, stage: FinetuneStage, model: Any, objective: Objective, rows: list[Row],
          started: float) -> dict[str, Any]:  # fmt: skip
    from yanmo.stages.tuning import rate
    from yanmo.stages.tuning.adapter import counted
    from yanmo.train.optimizers.groups import width_of
    from yanmo.train.plan import decisions
    from yanmo.train.plan.speed import measure

    optimizer = rate.optimizer_of(run, stage, model)

    def speed(sizes: dict[str, Any], form: str) -> Speed:
        """Of the real step; the model's weights are put back."""
        device = decisions.device_of(stage.train)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        batches = batches_of(run, rows, objective, sizes, "probe")
        found = measure(model.to(device), objective, optimizer.make(model), batches, device, form, False)
        model.load_state_dict(before)
        return found

    average = sum(len(row.tokens) for row in rows) / len(rows)
    plan = decisions.finetune(stage.train, len(rows), average, run.minutes if stage.weight else None, started, speed)
    schedule = stage.train.schedule or create("schedule", {"type": "cosine", "warmup": 0.1, "final": 0.0})
    numbers = counted(model) if stage.adapter is not None else {"parameters": sum(p.numel() for p in model.parameters())}
    return {**plan, **numbers,
            "optimizer": dump_part(optimizer.filled(width_of(model), len(rows))), "schedule": dump_part(schedule)}  # fmt: skip
