"""The learning-rate range test of a recipe's training stage, on its real data: `yanmo check RECIPE --lr-range STAGE`.

What the stage takes is found finished in the run's directory, or made in a folder that is thrown away; there the stage's
training is set up as it would be, and the rates are tried. The run is left as it was.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core.console import Console
from yanmo.core.errors import RequestError, nearest
from yanmo.core.execute import execute, inputs_of
from yanmo.core.fingerprint import settings_of
from yanmo.core.manifest import missing, read_manifest
from yanmo.core.messages import text
from yanmo.core.recipe import Entry, Recipe, load
from yanmo.core.registry import create
from yanmo.core.run import Run

if TYPE_CHECKING:
    from yanmo.train.plan.range_test import Range

WIDE = 40  # characters of the longest bar


def rates(path: str, overrides: list[str] | None, stage: str, run_dir: str | None = None,
          console: Console | None = None) -> Range:  # fmt: skip
    """The range test of the recipe's stage of this name. RequestError for one that does not train."""
    recipe = load(path, overrides)
    console = console or Console()
    known = [entry.name for entry in recipe.stages]
    if stage not in known:
        raise RequestError("--lr-range", None, text("no stage '{name}' in the recipe", name=stage), nearest(stage, known))
    index = known.index(stage)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(run_dir) if run_dir else Path("runs") / recipe.name
        if index and not all(finished(entry, recipe, directory) for entry in recipe.stages[:index]):
            directory = Path(scratch) / "run"
            execute(recipe, directory, until=known[index - 1], console=console)
        return tried(recipe, index, directory, Path(scratch) / "stage", console)


def finished(entry: Entry, recipe: Recipe, directory: Path) -> bool:
    """Whether the stage has run there with these settings."""
    manifest = read_manifest(directory / entry.name)
    same = manifest and manifest["settings"] == settings_of(entry.stage) and manifest["seed"] == recipe.seed
    return bool(same) and not missing(directory / entry.name, manifest or {})


def tried(recipe: Recipe, index: int, directory: Path, folder: Path, console: Console) -> Range:
    """The stage's training as it would begin, its rates tried."""
    import torch

    from yanmo.train.job import Job
    from yanmo.train.plan.range_test import range_test
    from yanmo.train.schedule import Constant

    entry = recipe.stages[index]
    stage: Any = entry.stage
    inputs: dict[str, list[Path]] = {}
    for link in inputs_of(index, recipe, directory):
        inputs.setdefault(link.role, []).append(link.path or directory / str(link.stage))
    folder.mkdir()
    minutes = recipe.budget.minutes if recipe.budget else None
    run = Run(directory, recipe.seed, console, recipe.budget, minutes, entry.name, inputs)
    patient = stage.patient(run, folder, time.monotonic()) if hasattr(stage, "patient") else None
    if patient is None or patient.batches is None:
        raise RequestError("--lr-range", text("a stage that trains by gradient"), entry.name)
    plan, device = patient.plan, torch.device(patient.plan["device"])
    model = (patient.build() if patient.model is None else patient.model).to(device)
    patient.objective.check(model)
    optimizer = create("optimizer", plan["optimizer"]).make(model)
    return range_test(Job(model, patient.objective, patient.batches, optimizer, Constant(), plan["steps"], folder,
                          run.seed_for("steps"), device, plan["precision"], clip=patient.train.clip, console=console,
                          what=entry.name))  # fmt: skip


def lines(found: Range) -> Iterator[str]:
    """The curve and the verdict for people."""
    low = min(point.smoothed for point in found.points) if found.points else 0.0
    high = max(point.smoothed for point in found.points) if found.points else 1.0
    for point in found.points:
        bar = "█" * round(WIDE * (point.smoothed - low) / max(high - low, 1e-9))
        mark = " ←" if point.lr == found.suggestion else ""
        yield f"{point.lr:>10.3g} {point.smoothed:>9.4f} {bar}{mark}"
    yield str(found.verdict)
