"""The evaluation stage: every earlier model on the same held-out data, then the report and the card of the run.

evaluate/    results.json    [{model, task, metric, value, low, high, n, group?}]
             tables.json     per label, confusions, differences to the best, what was left out and why, what each model is
             samples.json    what each generating model makes of the same prompts
             answers/        what every model answered to every item: all figures follow from these
             report.html     card.md: written after the results (they hold timings), and copied into the run's root
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import field_validator

from yanmo.core import files
from yanmo.core.config import PartOf
from yanmo.core.errors import RequestError, nearest
from yanmo.core.messages import text
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.tasks.base import Task

if TYPE_CHECKING:
    from yanmo.evaluate.subjects import Subject

PROMPTS = ("It was", "却说")


class EvaluateStage(Stage):
    """Runs tasks over models; writes results with intervals, the floors beside, a report and a model card."""

    takes: ClassVar[tuple[str, ...]] = ("corpus", "models")
    optional: ClassVar[frozenset[str]] = frozenset({"corpus"})

    type: str = "evaluate"
    tasks: Annotated[list[Task], PartOf("task")]
    models: list[str] | None = None  # names of earlier stages, or paths; None: every earlier model
    ensembles: tuple[tuple[str, ...], ...] = ()  # each some of the models' names, which answer together as one more model
    samples: tuple[str, ...] = PROMPTS  # prompts that every generating model goes on with
    contamination: bool = False  # whether test items are looked for in what each model was trained on
    corpus: str | None = None  # whose held-out documents a task without a path takes

    @field_validator("tasks")
    @classmethod
    def _some(cls, tasks: list[Task]) -> list[Task]:
        if not tasks:
            raise ValueError(str(text("at least one task")))
        return tasks

    @property
    def weight(self) -> float:
        return 0.8  # scoring costs about as much as a tenth of the training in a few minutes' recipe

    def files(self) -> list[Path]:
        """The tasks' files, after a look at each task: data that is not sound stops the run before it begins."""
        self.check()
        return sorted({file for task in self.tasks for file in task.files()})

    def check(self) -> None:
        for task in self.tasks:
            task.check()

    def _together(self, models: Sequence[Subject]) -> list[Subject]:
        from yanmo.evaluate.subjects import together

        known = {model.name: model for model in models}
        for group in self.ensembles:
            strange = [name for name in group if name not in known]
            if strange or len(set(group)) < 2:
                raise RequestError("evaluate.ensembles", text("an ensemble of at least two of {names}", names=", ".join(known)),
                                   ", ".join(group), nearest(strange[0], known) if strange else None)  # fmt: skip
        return [together([known[name] for name in group]) for group in self.ensembles]

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        from yanmo.evaluate.card import write_card
        from yanmo.evaluate.heldout import assignments, openings
        from yanmo.evaluate.report import write_report
        from yanmo.evaluate.runner import evaluate
        from yanmo.evaluate.subjects import subjects

        models = subjects(run.inputs.get("models", []))
        if not models:
            raise RequestError(run.stage, text("an earlier stage that gives a {role}", role="model"), text("none"))
        models += self._together(models)
        chosen = {name for model in models for name in _fitted_to(model.folder)}
        if chosen:
            run.console.log(text("{stage}: {count} held-out documents that a mixture was fitted to are left out for all models",
                                 stage=run.stage, count=len(chosen)))  # fmt: skip
        given = assignments(self.tasks, run.given("corpus"), run.stage, chosen)
        for assignment in given:
            for concern in assignment.task.check():
                run.console.warn(f"{run.stage}: {assignment.name}: {concern}")
        prompts = openings(self.samples, given) if self.samples == PROMPTS else self.samples
        found = evaluate(models, given, folder, prompts, run.console, run.seed_for("samples"), self.contamination)
        for assignment in given:
            for name, about in found.tables["tasks"].get(assignment.name, {}).get("contamination", {}).items():
                if about["dirty"]:
                    run.console.warn(text("{stage}: {task}: {count} of {total} test items stand in what {model} was trained on",
                                          stage=run.stage, task=assignment.name, count=about["dirty"],
                                          total=len(assignment.examples), model=name))  # fmt: skip
        files.write_json(folder / "results.json", found.results)
        files.write_json(folder / "tables.json", found.tables)
        files.write_json(folder / "samples.json", found.samples)
        write_report(run.directory, folder)
        write_card(run.directory, folder)
        return {"results": "results.json", "tables": "tables.json", "samples": "samples.json", "answers": "answers"}


def _fitted_to(folder: Path) -> list[str]:
    """The ids of held-out documents that went into a model: of a mixture, those that its gate was fitted to."""
    place = folder / "mixing.json"
    return list(files.read_json(place).get("fitted_to", [])) if place.is_file() else []
