"""The alignment stage: from a model that answers to one that answers as is wanted.

    align/model/          the model (for the objective 'reward' a reward model)
          training.json   what was done: before, after, what went wrong; no timings
          reference.json  what the reference gives the answers of preferences
          before.json     held-out answers before training

    align: {objective: {type: dpo}, task: {type: preferences, path: pairs.jsonl}}
    align: {objective: {type: grpo}, task: {type: prompts, path: prompts.jsonl}, reward: {type: number}}

The reference (distillation's teacher) is a frozen copy of the model that is begun with, unless `reference` names another
stage or a path; `judge` names a reward model, for `reward: {type: judge}`.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from yanmo.core import files
from yanmo.core.config import PartOf, dump_part
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import create, names, resolve
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.stages.training import job_of, opened, summary, trained
from yanmo.train.settings import Train

if TYPE_CHECKING:
    from yanmo.models.base import Loaded
    from yanmo.stages.alignment import Course, Start
    from yanmo.train.soundness.finding import Patient, Sample

LR = 5e-5  # at width 256


class AlignStage(Stage):
    """Makes a model prefer what is preferred: preferences, rewards, or a teacher's probabilities."""

    takes: ClassVar[tuple[str, ...]] = ("model", "reference", "judge")
    optional: ClassVar[frozenset[str]] = frozenset({"reference", "judge"})
    named: ClassVar[dict[str, tuple[str, ...]]] = {"reference": ("model",), "judge": ("model",)}
    gives: ClassVar[str] = "model"

    type: str = "align"
    model: str | None = None  # an earlier stage or a path; None: the nearest model
    objective: Annotated[Any, PartOf("objective")]
    task: Annotated[Any, PartOf("task")]
    reward: Annotated[list[Any] | Any, PartOf("reward")] = None  # one or more; None: what the task verifies by
    reference: str | None = None  # an earlier stage or a path; None: a frozen copy of the model
    judge: str | None = None  # a reward model: an earlier stage or a path
    train: Train = Train()

    @property
    def weight(self) -> float:
        return 0.0 if self.train.timed is False else 2.0

    def files(self) -> list[Path]:
        return self.task.files()

    def check(self) -> None:
        from yanmo.objectives.distill import Distill
        from yanmo.objectives.preferences import Preferring
        from yanmo.objectives.reward import RewardModel
        from yanmo.objectives.rollouts import Rolling
        from yanmo.stages.alignment import course_of
        from yanmo.train.plan.decisions import check_settings

        objective = self.objective
        if course_of(objective) is None:
            aligning = [name for name in names("objective") if _aligns(name)]
            raise RequestError("align.objective", text("one of {choices}", choices=", ".join(aligning)), objective.type)
        rolls = isinstance(objective, Rolling)
        heads = ("preferences",) if isinstance(objective, Preferring) else ("prompts",) if rolls else ("prompts", "preferences")
        if self.task.head not in heads:
            raise RequestError("align.task", text("one of {choices}", choices=", ".join(heads)), self.task.type)
        rewards = self.reward if isinstance(self.reward, list | tuple) else [self.reward]
        judged = any(getattr(reward, "type", "") == "judge" for reward in rewards)
        if judged != (self.judge is not None):
            found = text("'reward: {{type: judge}}' without 'judge'") if judged else text("a judge that no reward asks")
            raise RequestError("align.judge", text("a 'judge' and 'reward: {{type: judge}}', or neither"), found)
        for name, given, used in (
            ("reward", self.reward, rolls),
            ("reference", self.reference, not isinstance(objective, RewardModel) and getattr(objective, "refers", True)),
            ("train.batch_tokens", self.train.batch_tokens, not rolls),
            ("train.tokens", self.train.tokens, not rolls),
            ("train.joules", self.train.joules, not rolls),
        ):
            if given is not None and not used:
                wanted = text("nothing: the objective '{name}' has no use for it", name=objective.type)
                raise RequestError(f"align.{name}", wanted, str(dump_part(given)))
        if isinstance(objective, Distill) and self.reference is None:
            raise RequestError("align.reference", text("a teacher: an earlier stage or a path"), text("none"))
        self.task.check()
        check_settings("align", self.train, None, None)

    def patient(self, run: Run, folder: Path, started: float, sample: Sample | None = None) -> Patient | None:
        """The training before its first step, planned."""
        course = self.course(run, folder, sample)
        return None if course is None else _patient(run, course, started)

    def course(self, run: Run, folder: Path, sample: Sample | None = None) -> Course | None:
        from yanmo.stages.alignment import course_of

        kind = course_of(self.objective)
        assert kind is not None
        if sample is not None and sample.start is not None:
            from yanmo.stages.alignment import Start

            if run.given("judge") is not None or run.given("reference") is not None:
                return None  # what these will be is not known yet
            begun = Start(sample.start.build(), sample.start.tokenizer)
        else:
            begun = _start(run)
        return kind(run, folder, self, _complete(run, self, begun))

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        import torch

        from yanmo.models.store import save
        from yanmo.objectives.reward import RewardModel

        started = time.monotonic()
        self.check()
        for concern in self.task.check():
            run.console.warn(f"{run.stage}: {concern}")
        course = self.course(run, folder)
        assert course is not None
        patient = _patient(run, course, started)
        world, plan = opened(run, folder, self.train, patient)
        if plan["cut_texts"]:
            run.console.warn(text("{stage}: {count} of {all} texts are longer than {length} tokens and are cut", stage=run.stage,
                                  count=plan["cut_texts"], all=len(course.rows), length=course.start.model.context))  # fmt: skip
        model: Any = world.place(course.model, torch.device(plan["device"]))
        run.console.log(text("{stage}: {objective}, {rows} rows, {steps} steps of {batch} ({epochs} epochs)", stage=run.stage,
                             objective=self.objective.type, rows=len(course.rows), steps=plan["steps"], batch=plan["rows"],
                             epochs=plan["epochs"]))  # fmt: skip
        course.ready(model, plan)
        batches = course.batches(plan)
        job = job_of(run, folder, self.train, plan, model, course.objective, batches, course.validate(model), world)
        done = trained(run, job, patient)
        assert done is not None, "one process alone aligns"
        labels = ["reward"] if isinstance(self.objective, RewardModel) else None
        deviations = done.deviations if course.language_model(done.model) is done.model else None
        save(folder / "model", course.language_model(done.model), course.start.tokenizer, labels=labels, deviations=deviations)
        about = {**summary(plan, done.state, folder), "objective": dump_part(self.objective), **course.told()}
        files.write_json(folder / "training.json", about)
        course.over()
        return {"model": "model", "training": "training.json"}


def _aligns(name: str) -> bool:
    from yanmo.objectives.distill import Distill
    from yanmo.objectives.preferences import Preferring
    from yanmo.objectives.rollouts import Rolling

    return issubclass(resolve("objective", name), Preferring | Rolling | Distill)


def _start(run: Run) -> Start:
    """The language model to go on from, and its tokenizer."""
    from yanmo.models.store import load
    from yanmo.stages.alignment import Start

    loaded = load(run.take("model"))
    _writes(loaded, f"{run.stage}.model")
    assert loaded.tokenizer is not None
    return Start(loaded.model, loaded.tokenizer)


def _writes(loaded: Loaded, place: str) -> None:
    """RequestError for what does not write from left to right, or cannot be trained."""
    from yanmo.models.base import LanguageModel

    model = loaded.model
    able = isinstance(model, LanguageModel) and not loaded.labels and model.kind == "causal"
    if not able or not model.trainable or model.width is None:
        raise RequestError(place, text("a model that can be trained further (a Transformer or an LSTM)"),
                           str(loaded.config.get("model_type")), text("name another stage or folder with 'model:'"))  # fmt: skip
    if loaded.tokenizer is None:
        raise RequestError(place, text("a model directory with its tokenizer"), str(loaded.folder))


def _complete(run: Run, stage: AlignStage, begun: Start) -> Start:
    """With a reference where the objective needs one, and the judge."""
    from yanmo.inference.judge import judge
    from yanmo.models.store import load

    place = run.given("reference")
    if place is not None:
        loaded = load(place)
        _writes(loaded, f"{run.stage}.reference")
        assert loaded.tokenizer is not None
        if loaded.tokenizer.identity() != begun.tokenizer.identity():
            raise RequestError(f"{run.stage}.reference", text("a model with the same tokenizer"), str(place))
        begun.reference = loaded.model
    elif getattr(stage.objective, "refers", False):
        begun.reference = copy.deepcopy(begun.model)
    if begun.reference is not None:
        begun.reference.eval().requires_grad_(False)
    there = run.given("judge")
    if there is not None:
        begun.judge = judge(load(there), f"{run.stage}.judge")
    return begun


def _patient(run: Run, course: Course, started: float) -> Patient:
    from yanmo.train.optimizers.groups import width_of
    from yanmo.train.soundness.finding import Patient

    stage, model = course.stage, course.model
    course.objective.check(getattr(model, "backbone", model))
    optimizer: Any = stage.train.optim or create("optimizer", {"type": "adamw", "lr": LR, "weight_decay": 0.0})
    schedule = stage.train.schedule or create("schedule", {"type": "cosine", "warmup": 0.1, "final": 0.1})

    def decide() -> dict[str, Any]:
        found = course.plan(started, optimizer)
        filled = optimizer.filled(width_of(model), len(course.rows))
        return {**found, "parameters": sum(p.numel() for p in model.parameters()), "cut_texts": course.cut,
                "optimizer": dump_part(filled), "schedule": dump_part(schedule)}  # fmt: skip

    plan = run.plan(course.folder, decide)
    batches = course.batches(plan)
    return Patient(run.stage, stage.train, plan, course.objective, course.start.tokenizer, lambda: copy.deepcopy(model), batches,
                   course.folder, model=model, width=model.width)  # fmt: skip
