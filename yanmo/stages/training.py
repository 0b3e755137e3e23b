"""What every training stage has in common, before and behind what it trains: the doctor's leave, the processes that take part,
the plan put to work, and what is kept at the end.

    opened(…) -> world, plan     the doctor looks at the patient; the processes agree on the plan
    job_of(…) -> Job             the plan put to work
    trained(…) -> Trained        the loop, and the model back as one on the CPU
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yanmo.core.registry import create
from yanmo.core.run import Run
from yanmo.train.settings import Train

if TYPE_CHECKING:
    import torch

    from yanmo.objectives.base import Objective
    from yanmo.train.checkpoint import State
    from yanmo.train.job import Job
    from yanmo.train.soundness.finding import Patient
    from yanmo.train.world import World


@dataclass(frozen=True)
class Trained:
    """The model on the CPU, where its training ended, and the deviations of its parameters where they are known."""

    model: Any
    state: State
    deviations: dict[str, torch.Tensor] | None


def opened(run: Run, folder: Path, settings: Train, patient: Patient) -> tuple[World, dict[str, Any]]:
    """The processes that train together, and the plan that all of them follow; RequestError for a doomed training."""
    import torch

    from yanmo.train.parallel.worlds import world_of
    from yanmo.train.soundness import doctor

    if run.crew.first:
        doctor.admit(doctor.examine(patient), run.console, run.stage, folder, run.force)
    torch.set_num_threads(patient.plan["threads"])
    world = world_of(run.crew, settings.parallel, torch.device(patient.plan["device"]))
    return world, world.shared(patient.plan)


def job_of(run: Run, folder: Path, settings: Train, plan: dict[str, Any], model: torch.nn.Module, objective: Objective,
           batches: Any, validate: Any, world: World) -> Job:  # fmt: skip
    """The plan put to work; pretraining and fine-tuning alike."""
    from yanmo.core.energy import country
    from yanmo.train import horizon
    from yanmo.train.ahead import PREFETCH
    from yanmo.train.average import Averaging
    from yanmo.train.guard import Guard
    from yanmo.train.job import Job
    from yanmo.train.machine.gauge import gauge_of
    from yanmo.train.records.record import Title, records_of

    average: Any = settings.average
    return Job(
        model=model, objective=objective, batches=batches, optimizer=create("optimizer", plan["optimizer"]).make(model),
        schedule=create("schedule", plan["schedule"]), steps=plan["steps"], folder=world.folder(folder),
        seed=run.seed_for("steps"), device=world.device, world=world, precision=plan["precision"], compile=plan["compile"],
        clip=settings.clip, validate=validate, validate_every=plan["validate_every"], patience=settings.patience,
        checkpoint_every=plan["checkpoint_every"], keep=settings.keep, console=run.console, what=run.stage,
        horizon=horizon.of(plan, folder, run.console.log, world.largest),
        records=records_of(settings.records) if world.first else [],
        title=Title(run.directory.resolve().name, run.stage, plan),
        gauge=gauge_of(model, plan, settings.country or country()),
        average=Averaging() if average is None else average.make(plan["validate_every"]),
        guard=Guard(settings.spikes), recompute=settings.recompute,
        prefetch=settings.prefetch if settings.prefetch is not None else PREFETCH.get(world.device.type, 0),
    )  # fmt: skip


def trained(run: Run, job: Job, patient: Patient) -> Trained | None:
    """Trains to the end; None in a process that is not the first."""
    from yanmo.train.loop import train
    from yanmo.train.soundness import doctor

    doctor.begin(job, patient, run.console, run.force)
    state = train(job)
    deviations = job.optimizer.posterior(job.model)
    model = job.world.plain(job.model)
    job.world.leave()
    if not run.crew.first:
        return None
    return Trained(model.to("cpu"), state, deviations)


def describe(settings: dict[str, Any]) -> str:
    """'transformer (depth 4, width 256)'."""
    sizes = ", ".join(f"{name} {settings[name]}" for name in ("depth", "width") if settings.get(name))
    return f"{settings['type']} ({sizes})" if sizes else str(settings["type"])


def summary(plan: dict[str, Any], state: Any, folder: Path) -> dict[str, Any]:
    """What was done, without timings."""
    from yanmo.train.records.metrics import read

    lines = read(folder / "metrics.jsonl")
    validations = [{"step": line["step"], **line["validation"]} for line in lines if "validation" in line]
    kept = ("model", "parameters", "trained_parameters", "context", "batch_tokens", "rows", "precision", "compile", "optimizer",
            "schedule", "cut_texts")  # fmt: skip
    return {**{name: plan[name] for name in kept if name in plan}, "steps": state.step, "planned_steps": plan["steps"],
            "tokens": state.tokens, "stopped_early": state.stopped, "best_step": state.best_step,
            "validations": validations}  # fmt: skip
