"""The pretraining stage: from token shards to a language model.

    pretrain/model/          the model directory (Hugging Face layout), of the best validated weights
             training.json   what was done: steps, tokens, the validations; no timings, the same bytes for the same run
             plan.json       every decision, written before the first step
             metrics.jsonl   a line a step, with timings
             checkpoints/    the last ones and the best

Counted models (n-gram) are fitted in one go; the others are trained by `yanmo.train.loop`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from yanmo.core import files
from yanmo.core.config import PartOf
from yanmo.core.errors import DataError, RequestError
from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.corpus.mixture import Mixing
from yanmo.train.settings import Train

if TYPE_CHECKING:
    import torch

    from yanmo.corpus.tokens import Split, TokenShards
    from yanmo.models.base import ModelPart
    from yanmo.objectives.base import Objective
    from yanmo.text.tokenizer import Tokenizer
    from yanmo.train.batches import TokenBatches
    from yanmo.train.job import Job
    from yanmo.train.plan import Speed

WEIGHTS = {"transformer": 6.0, "lstm": 2.0}  # shares of a budget


class PretrainStage(Stage):
    """Makes a language model of the corpus."""

    takes: ClassVar[tuple[str, ...]] = ("corpus", "tokenizer")
    gives: ClassVar[str] = "model"

    type: str = "pretrain"
    corpus: str | None = None  # an earlier stage or a path; None: the nearest earlier one
    tokenizer: str | None = None
    model: Annotated[Any, PartOf("model")] = Field(default_factory=lambda: create("model", "transformer"))
    objective: Annotated[Any, PartOf("objective")] = Field(default_factory=lambda: create("objective", "causal"))
    train: Train = Train()
    mixture: Mixing | None = None  # of the corpus's sources; None: as their weights say

    @property
    def weight(self) -> float:
        """0 where the recipe itself says how long to train, and for counted models, which take what they take."""
        if self.model.counted or self.train.timed is False:
            return 0.0
        return WEIGHTS.get(self.model.type, 4.0)

    def check(self) -> None:
        from yanmo.train.plan import check_settings

        if self.model.kind != "language":
            raise RequestError("pretrain.model", text("a language model"), self.model.type,
                               text("'{name}' labels texts: use it in a 'finetune' stage", name=self.model.type))  # fmt: skip
        if getattr(self.model, "bidirectional", False):
            raise RequestError("pretrain.model.bidirectional", text("a model that predicts what it has not read"), "true",
                               text("'{name}' labels texts: use it in a 'finetune' stage", name=self.model.type))  # fmt: skip
        if not self.model.counted:
            check_settings("pretrain", self.train, self.model, getattr(self.objective, "context", None))

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        from yanmo.corpus.tokens import for_run
        from yanmo.text.tokenizer import Tokenizer

        started = time.monotonic()
        self.check()
        shards = for_run(run, run.take("corpus"), run.take("tokenizer"))
        tokenizer = Tokenizer.load(run.take("tokenizer"))
        if self.model.counted:
            return fit(run, folder, self.model, shards.split("train").weighted(self.mixture), tokenizer)
        return train_language_model(run, folder, self, shards, tokenizer, started)


@dataclass(frozen=True)
class Stream:
    """What a counted model reads: each document as often as its source weighs."""

    tokens: Any


def fit(run: Run, folder: Path, part: ModelPart, tokens: Any, tokenizer: Tokenizer) -> dict[str, str]:
    """A counted model: one pass over the training tokens, (N,) ids."""
    from yanmo.models.store import save

    total = getattr(part, "order", None)
    with run.console.bar(run.stage, total, "orders") as bar:
        model = part.fit(Stream(tokens), tokenizer, folder, bar.advance)
    save(folder / "model", model, tokenizer)
    return {"model": "model"}


def train_language_model(run: Run, folder: Path, stage: PretrainStage, shards: TokenShards, tokenizer: Tokenizer,
                         started: float) -> dict[str, str]:  # fmt: skip
    import torch

    from yanmo.models.store import save
    from yanmo.objectives.base import Context
    from yanmo.train import plan as planning
    from yanmo.train.loop import train
    from yanmo.train.validate import language_validation, objective_validation

    split, held_out = shards.split("train"), shards.split("validation")
    if len(split) < 2:
        raise DataError(str(run.take("corpus")), text("text in the training split"), text("none"))
    if not len(held_out) and (stage.train.patience or stage.train.validate_every):
        raise DataError(str(run.take("corpus")), text("text in the validation split"), text("none"),
                        text("raise the corpus's 'validation', or leave out 'patience' and 'validate_every'"))  # fmt: skip
    objective = stage.objective.bind(Context(tokenizer))
    minutes = run.minutes if stage.weight else None
    case = planning.Case(stage.train, stage.model, tokenizer.size, split.epoch_tokens(stage.mixture), stage.objective.context,
                         None, minutes, started, prober(stage, objective, split, tokenizer, run), run.stage)  # fmt: skip
    plan = run.plan(folder, lambda: planning.decide(case))
    torch.set_num_threads(plan["threads"])
    device = torch.device(plan["device"])
    part = create("model", plan["model"])
    model = part.build(tokenizer, torch.Generator().manual_seed(run.seed_for("parameters")), context=plan["context"]).to(device)
    objective.check(model)
    run.console.log(text("{stage}: {model}, {parameters} parameters, {steps} steps of {tokens} tokens, {precision}",
                         stage=run.stage, model=describe(plan["model"]), parameters=sum(p.numel() for p in model.parameters()),
                         steps=plan["steps"], tokens=plan["batch_tokens"], precision=plan["precision"]))  # fmt: skip
    made: Any = getattr(model, "part", None)
    if hasattr(made, "describe"):  # what is in effect, where settings follow from others
        effective = ", ".join(f"{key} {value}" for key, value in made.describe().items())
        run.console.log(text("{stage}: {settings}", stage=run.stage, settings=effective))
    batches = batches_of(run, stage, split, objective, plan)
    if not len(held_out):
        validate = None
    elif model.kind in ("causal", "permuted"):  # those that give a text a probability from left to right
        validate = language_validation(model, tokenizer, held_out, plan["validation_tokens"])
    else:
        validate = objective_validation(model, objective, held_out, plan["context"], plan["micro_rows"],
                                        plan["validation_tokens"])  # fmt: skip
    if validate is None:
        run.console.warn(text("{stage}: the corpus has no validation text; the last weights are kept", stage=run.stage))
    job = job_of(run, folder, stage.train, plan, model, objective, batches, validate)
    state = train(job)
    model.to("cpu")
    made_by = None if objective.type == "causal" else {"objective": objective.type}  # how it reads and is read, where not plainly
    save(folder / "model", model, tokenizer, extra=made_by)
    about = {**summary(plan, state, folder), "packing": split.packing(batches.stretch, objective.overlap)}
    files.write_json(folder / "training.json", about)
    return {"model": "model", "training": "training.json"}


def batches_of(run: Run, stage: PretrainStage, split: Split, objective: Objective, plan: dict[str, Any]) -> TokenBatches:
    """The rows of every step: shuffled, or in lanes for an objective that carries a state from step to step."""
    from yanmo.train.batches import LaneBatches, TokenBatches

    if objective.carries:
        if stage.mixture is not None or split.weights:
            raise RequestError(f"{run.stage}.objective.carry", text("a corpus without a mixture or weights of sources"), None,
                               text("leave out 'carry': it reads the corpus in its own order"))  # fmt: skip
        return LaneBatches(split, objective, plan["context"], plan["rows"], plan["micro_rows"])
    order = split.order(objective.stretch(plan["context"]), run.seed_for("rows"), stage.mixture, objective.overlap)
    return TokenBatches(split, objective, plan["context"], plan["rows"], plan["micro_rows"], 0, order)


def job_of(run: Run, folder: Path, settings: Train, plan: dict[str, Any], model: torch.nn.Module, objective: Objective,
           batches: Any, validate: Any) -> Job:  # fmt: skip
    """The plan put to work; pretraining and fine-tuning alike."""
    import torch

    from yanmo.train.job import Job

    return Job(
        model=model, objective=objective, batches=batches, optimizer=create("optimizer", plan["optimizer"]).make(model),
        schedule=create("schedule", plan["schedule"]), steps=plan["steps"], folder=folder, seed=run.seed_for("steps"),
        device=torch.device(plan["device"]), precision=plan["precision"], compile=plan["compile"], clip=settings.clip,
        validate=validate, validate_every=plan["validate_every"], patience=settings.patience,
        checkpoint_every=plan["checkpoint_every"], keep=settings.keep, console=run.console, what=run.stage,
    )  # fmt: skip


def prober(stage: PretrainStage, objective: Objective, split: Split, tokenizer: Tokenizer, run: Run) -> Any:
    """What the plan measures with: the real model on real rows, a warm-up and then the faster of two."""

    def probe(part: Any, context: int, rows: int, form: str, compiled: bool) -> Speed:
        import torch

        from yanmo.train.batches import TokenBatches
        from yanmo.train.plan import DEFAULT_OPTIMIZER, device_of
        from yanmo.train.speed import measure

        shown = describe(part.model_dump()) + (", torch.compile" if compiled else "")
        run.console.log(text("{stage}: measuring {model}, {precision} …", stage=run.stage, model=shown, precision=form))
        device = device_of(stage.train)
        model = part.build(tokenizer, torch.Generator().manual_seed(0), context=context).to(device)
        objective.check(model)
        chosen: Any = stage.train.optim or create("optimizer", DEFAULT_OPTIMIZER.get(part.type, "adamw"))
        optimizer = chosen.make(model)
        batches = TokenBatches(split, objective, context, rows, rows, run.seed_for("probe"))
        return measure(model, objective, optimizer, batches, device, form, compiled)

    return probe


def describe(settings: dict[str, Any]) -> str:
    """'transformer (depth 4, width 256)'."""
    sizes = ", ".join(f"{name} {settings[name]}" for name in ("depth", "width") if settings.get(name))
    return f"{settings['type']} ({sizes})" if sizes else str(settings["type"])


def summary(plan: dict[str, Any], state: Any, folder: Path) -> dict[str, Any]:
    """What was done, without timings."""
    from yanmo.train.metrics import read

    lines = read(folder / "metrics.jsonl")
    validations = [{"step": line["step"], **line["validation"]} for line in lines if "validation" in line]
    kept = ("model", "parameters", "context", "batch_tokens", "rows", "precision", "compile", "optimizer", "schedule",
            "cut_texts")  # fmt: skip
    return {**{name: plan[name] for name in kept if name in plan}, "steps": state.step, "planned_steps": plan["steps"],
            "tokens": state.tokens, "stopped_early": state.stopped, "best_step": state.best_step,
            "validations": validations}  # fmt: skip
