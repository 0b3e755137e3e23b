"""The pretraining stage: from token shards to a language model.

    pretrain/model/          the model directory (Hugging Face layout), of the best validated weights
             training.json   what was done: steps, tokens, the validations; no timings, the same bytes for the same run
             plan.json       every decision, written before the first step
             metrics.jsonl   a line a step, with timings
             checkpoints/    the last ones and the best

Counted models (n-gram) are fitted in one go; the others are trained by `yanmo.train.loop`. Where `model:` names an earlier
stage or a path, its training is continued (`yanmo.train.plan.continued`) with its own tokenizer, or with one that extends it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import Field, PrivateAttr, model_validator

from yanmo.core import files
from yanmo.core.config import Part, PartOf
from yanmo.core.errors import DataError, RequestError, nearest
from yanmo.core.messages import text
from yanmo.core.registry import create, lookup, names, resolve
from yanmo.core.run import Run
from yanmo.core.stage import Stage
from yanmo.corpus.mixture import Mixing
from yanmo.stages.training import describe, job_of, opened, summary, trained
from yanmo.train.settings import Train

if TYPE_CHECKING:

    from yanmo.corpus.tokens import Split, TokenShards
    from yanmo.models.base import LanguageModel, ModelPart
    from yanmo.objectives.base import Objective
    from yanmo.text.tokenizer import Tokenizer
    from yanmo.train.batches import TokenBatches
    from yanmo.train.plan.speed import Speed
    from yanmo.train.soundness.finding import Patient, Sample

WEIGHTS = {"transformer": 6.0, "lstm": 2.0}  # shares of a budget


class PretrainStage(Stage):
    """Makes a language model of the corpus, from a part's settings or from a model that is there."""

    takes: ClassVar[tuple[str, ...]] = ("corpus", "tokenizer", "model")
    gives: ClassVar[str] = "model"

    type: str = "pretrain"
    corpus: str | None = None  # an earlier stage or a path; None: the nearest earlier one
    tokenizer: str | None = None
    # A part to start from scratch; or the name of an earlier stage, or a path, of a model to go on from.
    model: Annotated[Part | str, PartOf("model")] = Field(default_factory=lambda: create("model", "transformer"))
    objective: Annotated[Any, PartOf("objective")] = Field(default_factory=lambda: create("objective", "causal"))
    train: Train = Train()
    mixture: Mixing | None = None  # of the corpus's sources; None: as their weights say

    _word: str | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _named(cls, values: Any, handler: Any) -> Any:
        """A part's name alone is the part, until `settled` knows of a stage that is called so."""
        word = values.get("model") if isinstance(values, dict) else None
        if not isinstance(word, str) or word not in names("model"):
            return handler(values)
        made = handler({**values, "model": create("model", word)})
        made._word = word
        return made

    @property
    def optional(self) -> frozenset[str]:  # type: ignore[override]
        """A model that is there brings its tokenizer."""
        return frozenset({"tokenizer"}) if isinstance(self.model, str) else frozenset()

    @property
    def part(self) -> Any:
        """The settings of a model from scratch; None where one is gone on from."""
        return None if isinstance(self.model, str) else self.model

    @property
    def together(self) -> bool:
        return not getattr(self.part, "counted", False)

    @property
    def weight(self) -> float:
        """0 where the recipe itself says how long to train, and for counted models, which take what they take."""
        if getattr(self.part, "counted", False) or self.train.timed is False:
            return 0.0
        return WEIGHTS["transformer"] if self.part is None else WEIGHTS.get(self.part.type, 4.0)

    def needs(self, text_bytes: int) -> float:
        """A counted model's time: 1.4 s for 7.6 MB as tokens, 4.3 as characters (two cores)."""
        return 1 + 0.4e-6 * text_bytes if getattr(self.part, "counted", False) else 0.0

    def settled(self, models: Collection[str]) -> Self:
        """A word is the earlier stage of that name, else the part, else a path."""
        if isinstance(self.model, Part):
            return self.model_copy(update={"model": self._word}) if self._word in models else self
        if self.model not in models and not Path(self.model).exists():
            if ":" in self.model:  # another's class
                return self.model_copy(update={"model": create("model", self.model)})
            if not {"/", "\\", "."} & set(self.model):  # a path that is not there is found when inputs are looked for
                raise RequestError("pretrain.model", text("an earlier stage, a path or a part"), self.model,
                                   nearest(self.model, [*models, *names("model")]))  # fmt: skip
        return self

    def check(self) -> None:
        from yanmo.train.plan.decisions import check_settings

        _reads(self.objective)
        part = self.part
        if part is not None and not part.language():
            raise RequestError("pretrain.model", text("a language model"), part.type,
                               text("'{name}' labels texts: use it in a 'finetune' stage", name=part.type))  # fmt: skip
        if getattr(part, "bidirectional", False):
            raise RequestError("pretrain.model.bidirectional", text("a model that predicts what it has not read"), "true",
                               text("'{name}' labels texts: use it in a 'finetune' stage", name=part.type))  # fmt: skip
        if not getattr(part, "counted", False):
            check_settings("pretrain", self.train, part, getattr(self.objective, "context", None))

    def patient(self, run: Run, folder: Path, started: float, sample: Sample | None = None) -> Patient | None:
        """The training before its first step, planned; None for a model that is only counted. `sample`: what the text at hand
        is a sample of."""
        from yanmo.corpus.tokens import for_run
        from yanmo.text.tokenizer import Tokenizer

        loaded: LanguageModel | None = None
        if self.part is None and sample is not None and sample.start is not None:
            loaded, tokenizer, place = cast("LanguageModel", sample.start.build()), sample.start.tokenizer, folder / "tokenizer"
            tokenizer.save(place)
        elif self.part is None:
            loaded, tokenizer, place = begun(run, folder, self)
        elif self.part.counted:
            return None
        else:
            place = run.take("tokenizer")
            tokenizer = Tokenizer.load(place)
        return planned(run, folder, self, for_run(run, run.take("corpus"), place), tokenizer, started, loaded, sample)

    def run(self, run: Run, folder: Path) -> dict[str, str]:
        from yanmo.corpus.tokens import for_run
        from yanmo.text.tokenizer import Tokenizer

        started = time.monotonic()
        self.check()
        found = self.patient(run, folder, started)
        if found is not None:
            return train_language_model(run, folder, self, found)
        shards = for_run(run, run.take("corpus"), run.take("tokenizer"))
        tokenizer = Tokenizer.load(run.take("tokenizer"))
        return fit(run, folder, self.part, shards.split("train").weighted(self.mixture), tokenizer)


def begun(run: Run, folder: Path, stage: PretrainStage) -> tuple[LanguageModel, Tokenizer, Path]:
    """The model to go on from, its tokenizer, and where that lies: the one before this stage if it extends the model's own (then
    the model has rows for what is new), else the model's own."""
    from yanmo.models.base import LanguageModel
    from yanmo.models.growth import grow
    from yanmo.models.store import load
    from yanmo.stages.tokenizer import EXTENSION
    from yanmo.text.extend import extends, spelling
    from yanmo.text.tokenizer import Tokenizer
    from yanmo.train.plan.continued import still

    place = f"{run.stage}.model"
    loaded = load(run.take("model"))
    model, own = loaded.model, loaded.tokenizer
    if not isinstance(model, LanguageModel) or loaded.labels or not model.trainable or model.width is None:
        raise RequestError(place, text("a model that can be trained further (a Transformer or an LSTM)"),
                           str(loaded.config.get("model_type")), text("name another stage or folder with 'model:'"))  # fmt: skip
    if own is None:
        raise RequestError(place, text("a model directory with its tokenizer"), str(loaded.folder))
    fit_objective(run, stage, model)
    if getattr(model, "attends", False):
        still(model)
    given = run.given("tokenizer")
    if given is not None:
        tokenizer = Tokenizer.load(given)
        if extends(tokenizer, own):
            new = spelling(own, tokenizer)
            if new:
                grow(model, own.size, new)
                run.console.log(text("{stage}: {count} new tokens, each beginning as the mean of its old pieces",
                                     stage=run.stage, count=len(new)))  # fmt: skip
            return model, tokenizer, given
        if stage.tokenizer is not None or (given / EXTENSION).is_file():
            raise RequestError(f"{run.stage}.tokenizer", text("the model's tokenizer, or one that extends it"), str(given),
                               text("make it by 'tokenizer: {{type: extended, base: {base}}}'", base=stage.model))  # fmt: skip
        run.console.log(text("{stage}: the model's own tokenizer, {size} tokens", stage=run.stage, size=own.size))
    mine = folder / f"{run.stage}-tokenizer"
    with run.crew.turn("tokenizer"):
        if run.crew.first:
            own.save(mine)
    return model, own, mine


def streaming() -> dict[str, type[Part]]:
    """Name → class of the objectives that learn from a stream of text, whose rows they cut to a `context`; the others want
    labels, answers or preferences."""
    known = {name: resolve("objective", name) for name in names("objective")}
    return {name: cls for name, cls in known.items() if "context" in cls.model_fields}


def _reads(objective: Any) -> None:
    """RequestError for an objective that text alone is not enough for, naming the stage that it is for."""
    if "context" in type(objective).model_fields:
        return
    tuned = {lookup("tuning", head).objective for head in names("tuning")}
    stage = "finetune" if objective.type in tuned else "align"
    remedy = text("'{name}' belongs in the stage '{stage}'", name=objective.type, stage=stage)
    raise RequestError("pretrain.objective", text("one of {choices}", choices=", ".join(streaming())), objective.type,
                       remedy if objective.type in names("objective") else None)  # fmt: skip


def fit_objective(run: Run, stage: PretrainStage, model: Any) -> None:
    """RequestError for an objective or a context that this model cannot be trained with, naming those that it can."""
    fitting = [name for name, cls in streaming().items() if model.kind in getattr(cls, "kinds", ())]
    if stage.objective.kinds and model.kind not in stage.objective.kinds:
        raise RequestError(f"{run.stage}.objective", text("one that trains a model of the kind {kinds}", kinds=model.kind),
                           stage.objective.type, text("one of {choices}", choices=", ".join(fitting)))  # fmt: skip
    context = getattr(stage.objective, "context", None)
    if context is not None and model.context is not None and context > model.context:
        raise RequestError(f"{run.stage}.objective.context", text("at most the model's {context}", context=model.context),
                           str(context))  # fmt: skip
    if getattr(stage.objective, "isolate", False) and getattr(model, "attends", True) is False:
        raise RequestError(f"{run.stage}.objective.isolate", text("'false' for a model without our attention"), "true")


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


def planned(run: Run, folder: Path, stage: PretrainStage, shards: TokenShards, tokenizer: Tokenizer, started: float,
            loaded: LanguageModel | None = None, sample: Sample | None = None) -> Patient:  # fmt: skip
    """`loaded`: the model to go on from, with a row for each of the tokenizer's tokens."""
    import torch

    from yanmo.objectives.base import Context
    from yanmo.train.plan import continued, decisions
    from yanmo.train.soundness.finding import Patient

    split, held_out = shards.split("train"), shards.split("validation")
    if len(split) < 2:
        raise DataError(str(run.take("corpus")), text("text in the training split"), text("none"))
    size, tokens = tokenizer.size, split.epoch_tokens(stage.mixture)
    if sample is not None:
        size, tokens = sample.vocabulary or size, round(sample.scale * tokens)
    objective = stage.objective.bind(Context(tokenizer))
    minutes = run.minutes if stage.weight else None

    def decide() -> dict[str, Any]:
        settings, part, limit = stage.train, stage.part, None
        if loaded is not None:
            settings = continued.begin(stage.train, loaded, objective, split.tokens[:64].tolist(), minutes)
            part, limit = continued.described(loaded), loaded.context
        probe = prober(stage, settings, objective, split, tokenizer, run, loaded)
        return decisions.decide(decisions.Case(settings, part, size, tokens, stage.objective.context, limit, minutes, started,
                                               probe, run.stage))  # fmt: skip

    plan = run.plan(folder, decide)

    def build() -> LanguageModel:
        if loaded is not None:
            return loaded if sample is None else copy.deepcopy(loaded)
        draws = torch.Generator().manual_seed(run.seed_for("parameters"))
        wide: Any = tokenizer if size == tokenizer.size else SimpleNamespace(size=size)
        return create("model", plan["model"]).build(wide, draws, context=plan["context"])

    return Patient(run.stage, stage.train, plan, objective, tokenizer, build, batches_of(run, stage, split, objective, plan),
                   folder, str(run.take("corpus")), split, held_out, model=loaded, vocabulary=size, epoch_tokens=tokens,
                   sampled=sample is not None and sample.scale != 1.0)  # fmt: skip


def train_language_model(run: Run, folder: Path, stage: PretrainStage, patient: Patient) -> dict[str, str]:
    import torch

    from yanmo.corpus.documents import origins
    from yanmo.models.store import save
    from yanmo.train.records.bands import band_of
    from yanmo.train.validate import language_validation, objective_validation

    objective, tokenizer, loaded = patient.objective, patient.tokenizer, patient.model
    split: Any = patient.split
    held_out: Any = patient.held_out
    world, plan = opened(run, folder, stage.train, patient)
    whole: Any = patient.build()
    objective.check(whole)
    model: Any = world.place(whole, torch.device(plan["device"]))
    run.console.log(text("{stage}: {model}, {parameters} parameters, {steps} steps of {tokens} tokens, {precision}",
                         stage=run.stage, model=describe(plan["model"]), parameters=sum(p.numel() for p in model.parameters()),
                         steps=plan["steps"], tokens=plan["batch_tokens"], precision=plan["precision"]))  # fmt: skip
    made: Any = getattr(model, "part", None)
    if hasattr(made, "describe"):  # what is in effect, where settings follow from others
        effective = ", ".join(f"{key} {value}" for key, value in made.describe().items())
        run.console.log(text("{stage}: {settings}", stage=run.stage, settings=effective))
    if not len(held_out):
        validate = None
    elif model.kind in ("causal", "permuted"):  # those that give a text a probability from left to right
        validate = language_validation(model, tokenizer, held_out, plan["validation_tokens"])
    else:
        validate = objective_validation(model, objective, held_out, plan["context"], plan["micro_rows"],
                                        plan["validation_tokens"])  # fmt: skip
    batches = patient.batches if world.size == 1 else batches_of(run, stage, split, objective, plan)
    job = job_of(run, folder, stage.train, plan, model, objective, batches, validate, world)
    read: Any = batches
    job.origins = lambda items: origins(run.take("corpus"), read.documents(items))
    if loaded is None:  # one that goes on is where it was
        job.band = band_of(plan["model"], objective.type, tokenizer.size, plan["parameters"], plan["batch_tokens"])
    done = trained(run, job, patient)
    if done is None:
        return {}
    made_by = None if objective.type == "causal" else {"objective": objective.type}  # how it reads and is read, where not plainly
    save(folder / "model", done.model, tokenizer, extra=made_by, deviations=done.deviations)
    about = {**summary(plan, done.state, folder), "packing": split.packing(objective.stretch(plan["context"]), objective.overlap)}
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


def prober(stage: PretrainStage, settings: Train, objective: Objective, split: Split, tokenizer: Tokenizer, run: Run,
           loaded: LanguageModel | None) -> Any:  # fmt: skip
    """What the plan measures with: the real model on real rows, a warm-up and then the faster of two."""

    def probe(part: Any, context: int, rows: int, form: str, compiled: bool) -> Speed:
        import torch

        from yanmo.train.batches import TokenBatches
        from yanmo.train.plan.decisions import DEFAULT_OPTIMIZER, device_of
        from yanmo.train.plan.speed import measure

        shown = describe(part.model_dump()) + (", torch.compile" if compiled else "")
        run.console.log(text("{stage}: measuring {model}, {precision} …", stage=run.stage, model=shown, precision=form))
        device = device_of(stage.train)
        model = loaded or part.build(tokenizer, torch.Generator().manual_seed(0), context=context)
        model = model.to(device)
        before = {name: value.clone() for name, value in loaded.state_dict().items()} if loaded is not None else {}
        objective.check(model)
        chosen: Any = settings.optim or create("optimizer", DEFAULT_OPTIMIZER.get(part.type, "adamw"))
        optimizer = chosen.make(model)
        batches = TokenBatches(split, objective, context, rows, rows, run.seed_for("probe"))
        try:
            return measure(model, objective, optimizer, batches, device, form, compiled)
        finally:
            if loaded is not None:  # which the steps of the probe moved
                loaded.load_state_dict(before)

    return probe
