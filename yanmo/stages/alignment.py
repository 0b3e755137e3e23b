"""What the three ways of aligning a model have of their own: rows, plan, and how good the model is.

    Pairs      preferences, for dpo and reward        rows are pairs of answers; the reference is asked once, before training
    Answers    prompts, for grpo, ppo and rejection   the model answers; rewards say what that is worth; held-out answers are
                                                      verified by the task, whatever the reward
    Taught     answers or chosen answers, for distill a teacher gives probabilities
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import torch

from yanmo.core import files
from yanmo.core.data import Example, Row
from yanmo.core.errors import DataError, RequestError
from yanmo.core.messages import text
from yanmo.core.run import Run
from yanmo.objectives.base import Context, Objective
from yanmo.objectives.preferences import Preferring, known
from yanmo.objectives.reward import RewardModel
from yanmo.objectives.rollouts import FOLDER, Rolling, still
from yanmo.tasks.conversation import shown
from yanmo.tasks.rewards import Reward, worth
from yanmo.train.batches import LabelledBatches
from yanmo.train.job import Verdict
from yanmo.train.machine.precision import autocast, rule
from yanmo.train.plan import decisions
from yanmo.train.plan.speed import measure
from yanmo.train.prompts import PromptBatches
from yanmo.train.records.metrics import read
from yanmo.train.records.watch import Flag, flags
from yanmo.train.settings import Train

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

LONGEST = 1024  # tokens of a text, for models that take any
EPOCHS = 2.0  # of preferences and texts, where nothing says how long
STEPS = 200  # of prompts
HELD_OUT = 256  # prompts that are answered to see how good the model is
ROWS = 16  # pairs that are read together where nothing is trained
REFERENCE, BEFORE = "reference.json", "before.json"


@dataclass
class Start:
    """What an alignment begins with. `reference` None: the model as it is; `judge`: prompts and answers to scores."""

    model: Any
    tokenizer: Tokenizer
    reference: Any = None
    judge: Callable[..., list[float]] | None = None


@dataclass
class Course:
    """One alignment on its way."""

    run: Run
    folder: Path
    stage: Any
    start: Start
    rows: list[Row] = field(default_factory=list)
    held_out: list[Row] = field(default_factory=list)
    cut: int = 0

    def __post_init__(self) -> None:
        length = self.start.model.context or LONGEST
        self.objective: Any = self.bound()
        self.model: Any = self.trained()
        self.rows, cut = self.encoded(self.stage.task.load("train"), length)
        self.held_out, _ = self.encoded(self.stage.task.load("validation"), length)
        self.cut = cut
        if not self.rows:
            raise DataError(f"{self.run.stage}.task", text("rows in the training split"), text("none"))

    def bound(self) -> Objective:
        return self.stage.objective.bind(self.context())

    def context(self, **more: Any) -> Context:
        device, train = decisions.device_of(self.stage.train), self.stage.train
        form = train.precision or rule(device)
        return Context(self.start.tokenizer, within=lambda: autocast(form, device), folder=self.folder, **more)

    def trained(self) -> Any:
        return self.start.model

    def encoded(self, examples: list[Example], length: int) -> tuple[list[Row], int]:
        """(rows, how many texts were cut)."""
        raise NotImplementedError

    def batches(self, plan: dict[str, Any]) -> Any:
        return LabelledBatches(self.rows, self.objective, plan["rows"], plan["micro_rows"], self.run.seed_for("rows"),
                               2 * plan["micro_padded"])  # fmt: skip

    def plan(self, started: float, optimizer: Any) -> dict[str, Any]:
        """Steps, rows and when to validate; measured where a clock decides."""
        train: Train = self.stage.train
        if train.timed is None:
            train = train.model_copy(update={"epochs": EPOCHS})
        # not chosen by measuring: the reference is asked in the same precision, before there is a plan
        train = train.model_copy(update={"precision": train.precision or rule(decisions.device_of(train))})
        average = fmean(len(row.tokens) for row in self.rows)

        def speed(sizes: dict[str, Any], form: str) -> Any:
            return self.measured(optimizer, self.batches(sizes))

        return decisions.finetune(train, len(self.rows), average, self.minutes, started, speed)

    def measured(self, optimizer: Any, batches: Any) -> Any:
        """The speed of the real step; the model's weights are put back."""
        device = decisions.device_of(self.stage.train)
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        form = self.stage.train.precision or rule(device)
        found = measure(self.model.to(device), self.objective, optimizer.make(self.model), batches, device, form, False)
        self.model.load_state_dict(before)
        return found

    @property
    def minutes(self) -> float | None:
        return self.run.minutes if self.stage.weight else None

    def ready(self, model: Any, plan: dict[str, Any]) -> None:
        """What is done once before the first step, with the model where it is trained."""

    def validate(self, model: Any) -> Callable[[], Verdict] | None:
        """The objective's own mean loss on held-out rows, and its figures."""
        if not self.held_out:
            return None
        order = sorted(range(len(self.held_out)), key=lambda i: (len(self.held_out[i].tokens), i))
        parts = [[self.held_out[i] for i in order[start : start + ROWS]] for start in range(0, len(order), ROWS)]

        def validated() -> Verdict:
            total = weight = 0.0
            sums: dict[str, tuple[float, float]] = {}
            device = next(model.parameters()).device
            for rows in parts:
                loss = self.objective.loss(model, self.objective.collate(rows, torch.Generator()).to(device))
                total, weight = total + float(loss.total), weight + float(loss.weight)
                for name, (amount, count) in loss.metrics.items():
                    had = sums.get(name, (0.0, 0.0))
                    sums[name] = (had[0] + float(amount), had[1] + float(count))
            figures = {"loss": total / weight, **{name: amount / count for name, (amount, count) in sums.items()}}
            return Verdict((figures["loss"],), figures)

        return validated

    def language_model(self, model: Any) -> Any:
        """What is saved."""
        return model

    def told(self) -> dict[str, Any]:
        """What training.json says beside."""
        return {}

    def over(self) -> None:
        """After the last step."""


class Pairs(Course):
    """Preferences."""

    def trained(self) -> Any:
        if not isinstance(self.objective, RewardModel):
            return self.start.model
        from yanmo.models.classifier import Classifier

        made = Classifier(self.start.model, 1)
        made.initialise(torch.Generator().manual_seed(self.run.seed_for("head")))
        return made

    def encoded(self, examples: list[Example], length: int) -> tuple[list[Row], int]:
        task, tokenizer = self.stage.task, self.start.tokenizer
        pairs = [tuple(task.encode(example, tokenizer, length)) for example in examples]
        cut = sum(len(row.tokens) == length for texts in pairs for row in texts)
        assert isinstance(self.objective, Preferring)
        return (self.objective.rows(pairs) if pairs else []), cut

    def ready(self, model: Any, plan: dict[str, Any]) -> None:
        """What the reference gives every answer: computed once, in the same batches whenever it is, and kept."""
        if isinstance(self.objective, RewardModel):
            return
        place = self.folder / REFERENCE
        if not place.is_file():
            device = torch.device(plan["device"])
            reference = (self.start.reference or model).to(device)
            asked = {"train": self.rows, "held_out": self.held_out}
            files.write_json(place, {name: self._asked(reference, rows, device) for name, rows in asked.items()})
            self.start.reference = None  # is not needed any more
        found = files.read_json(place)
        self.rows = [known(row, values) for row, values in zip(self.rows, found["train"], strict=True)]
        self.held_out = [known(row, values) for row, values in zip(self.held_out, found["held_out"], strict=True)]

    def _asked(self, reference: Any, rows: list[Row], device: torch.device) -> list[list[float]]:
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i].tokens), i))
        found: list[list[float]] = [[] for _ in rows]
        with self.run.console.bar(text("{stage}: the reference", stage=self.run.stage).render(), len(rows), "rows") as bar, \
                torch.no_grad(), still(reference), autocast(self.stage.train.precision or rule(device), device):  # fmt: skip
            for start in range(0, len(order), ROWS):
                chosen = order[start : start + ROWS]
                batch = self.objective.collate([rows[i] for i in chosen], torch.Generator()).to(device)
                for index, values in zip(chosen, self.objective.likelihoods(reference, batch).tolist()):
                    found[index] = values
                bar.advance(len(chosen))
        return found


class Taught(Course):
    """Texts with answers, and a teacher."""

    def context(self, **more: Any) -> Context:
        return super().context(models={"reference": self.start.reference}, **more)

    def encoded(self, examples: list[Example], length: int) -> tuple[list[Row], int]:
        task, tokenizer = self.stage.task, self.start.tokenizer
        if hasattr(task, "answered"):
            bare = next((e for e in examples if "answer" not in e.fields), None)
            if bare is not None:
                raise DataError(bare.where, None, text("field '{field}' is missing", field=task.fields.answer))
            rows = [task.answered(example, tokenizer, length) for example in examples]
        else:
            rows = [task.encode(example, tokenizer, length)[0] for example in examples]
        return rows, sum(len(row.tokens) == length for row in rows)

    def ready(self, model: Any, plan: dict[str, Any]) -> None:
        self.start.reference.to(torch.device(plan["device"]))


class Answers(Course):
    """Prompts that the model answers."""

    def __post_init__(self) -> None:
        self.rewards, self.verifiers = self._rewards()
        self._seen: set[str] = set()
        self.before: dict[str, float] = {}
        super().__post_init__()
        self.held_out = self.held_out[:HELD_OUT]

    def _rewards(self) -> tuple[list[Reward], list[Reward]]:
        """What trains and what verifies."""
        given, task = self.stage.reward, self.stage.task
        verifiers = task.verifiers()
        rewards: list[Any] = verifiers if given is None else list(given) if isinstance(given, list | tuple) else [given]
        if not rewards:
            raise RequestError(f"{self.run.stage}.reward", text("a reward, or prompts with answers"), text("none"),
                               text("add 'reward: {{type: …}}'"))  # fmt: skip
        bound = [reward.bind(self.start.judge) if reward.type == "judge" else reward for reward in rewards]
        task.require(bound)
        return bound, verifiers

    def context(self, **more: Any) -> Context:
        from yanmo.inference.rollouts import generator

        models = {} if self.start.reference is None else {"reference": self.start.reference}
        return super().context(models=models, generate=generator(self.start.tokenizer),
                               reward=lambda examples, answers: worth(self.rewards, examples, answers), **more)  # fmt: skip

    def trained(self) -> Any:
        return self.objective.trained(self.start.model, torch.Generator().manual_seed(self.run.seed_for("head")))

    def encoded(self, examples: list[Example], length: int) -> tuple[list[Row], int]:
        room = length - self.objective.max_tokens
        if room < 1:
            wanted = text("fewer than the model's context of {context}", context=length)
            raise RequestError(f"{self.run.stage}.objective.max_tokens", wanted, str(self.objective.max_tokens))
        rows = [row for example in examples for row in self.stage.task.encode(example, self.start.tokenizer, room)]
        return rows, sum(len(row.tokens) == room for row in rows)

    def plan(self, started: float, optimizer: Any) -> dict[str, Any]:
        """As long as the recipe says, else STEPS steps; micro-batches of answers as long as they may get."""
        import time

        train: Train = self.stage.train
        device = decisions.device_of(train)
        objective = self.objective
        longest = max(len(row.tokens) for row in self.rows) + objective.max_tokens
        most = train.micro_tokens or decisions.micro_tokens(train, device)
        size = min(objective.prompts * objective.group, max(1, most // longest))
        plan: dict[str, Any] = {
            "device": device.type, "threads": train.threads or torch.get_num_threads(),
            "precision": train.precision or rule(device), "compile": bool(train.compile),
        }  # fmt: skip
        torch.set_num_threads(plan["threads"])
        epoch = max(1, round(len(self.rows) / objective.prompts * objective.repeats))
        steps = train.steps or (round(train.epochs * epoch) if train.epochs else None)
        minutes = train.minutes or (None if train.timed is False else self.minutes)
        if minutes is not None:
            self.objective = objective.sized(size)
            step = self.measured(optimizer, self.batches(plan)).seconds(1, 1)
            left = started + 60 * minutes - time.monotonic()
            steps = max(1, int(left * (1 - decisions.SPARE) * 0.9 / step))
            plan |= {"measured": {"step_seconds": round(step, 5)}, "minutes": round(minutes, 3),
                     "horizon": decisions.in_seconds(left, step, 0.0)}  # fmt: skip
        steps = max(1, steps or STEPS * objective.repeats)
        every = train.validate_every or max(1, -(-steps // decisions.VALIDATIONS))
        answers = objective.prompts * objective.group
        return {**plan, "rows": objective.prompts, "micro_rows": objective.prompts, "answers": answers,
                "micro_answers": size, "steps": steps, "epochs": round(steps / epoch, 3), "validate_every": every,
                "checkpoint_every": train.checkpoint_every or every}  # fmt: skip

    def batches(self, plan: dict[str, Any]) -> PromptBatches:
        if "micro_answers" in plan:
            self.objective = self.objective.sized(plan["micro_answers"])
        return PromptBatches(self.rows, self.objective, self.run.seed_for("rows"), self.run.seed_for("steps"))

    # ------------------------------------------------------------------------------------------------ held-out answers

    def ready(self, model: Any, plan: dict[str, Any]) -> None:
        if self.start.reference is not None:
            self.start.reference.to(torch.device(plan["device"]))
        if not self.held_out:
            return
        place = self.folder / BEFORE
        if not place.is_file():
            with still(model):
                figures, error = self.answered(model)
            files.write_json(place, {"figures": figures, "error": error})
        told = files.read_json(place)
        self.before, self.deviation = told["figures"], told["error"] * 2**0.5

    def answered(self, model: Any) -> tuple[dict[str, float], float]:
        """(figures of answers to held-out prompts, drawn as in training but always with the same seeds; the standard error of
        'verified')."""
        objective, examples = self.objective, [row.label for row in self.held_out]
        found = objective._context.generate(objective.policy(model), [row.tokens for row in self.held_out],
                                            list(range(len(examples))), max_tokens=objective.max_tokens,
                                            temperature=objective.temperature, stop=objective.stop)  # fmt: skip
        answers = [one.text for one in found]
        figures = {"reward": fmean(worth(self.rewards, examples, answers)), "length": fmean(len(one.ids) for one in found)}
        if not self.verifiers:
            return figures, 0.0
        right = worth(self.verifiers, examples, answers)
        error = stdev(right) / len(right) ** 0.5 if len(right) > 1 else 0.0
        return {"verified": fmean(right), **figures}, error

    def validate(self, model: Any) -> Callable[[], Verdict] | None:
        if not self.held_out:
            return None

        def validated() -> Verdict:
            self.look()
            figures, _ = self.answered(model)
            return Verdict(tuple(-figures[name] for name in ("verified", "reward") if name in figures), figures)

        return validated

    def look(self) -> list[Flag]:
        """What the figures so far show to be wrong; said once each."""
        place = self.folder / "metrics.jsonl"
        found = flags(read(place) if place.is_file() else [], self.before, getattr(self, "deviation", 0.0))
        for flag in found:
            if flag.name not in self._seen:
                self._seen.add(flag.name)
                self.run.console.warn(text("{stage}: step {step}: {line}{example}", stage=self.run.stage, step=flag.step,
                                           line=flag.line, example=self._example()))  # fmt: skip
        return found

    def _example(self) -> Any:
        last = self.objective.shown
        if last is None:
            return ""
        example, answer, reward = last
        return text(" (such as {reward} for '{answer}' to the prompt '{prompt}', {where})", reward=f"{reward:g}",
                    answer=shown(answer), prompt=shown(example.fields["prompt"]), where=example.where or "-")  # fmt: skip

    def language_model(self, model: Any) -> Any:
        return self.objective.policy(model)

    def told(self) -> dict[str, Any]:
        return {"before": self.before, "flags": [{"name": flag.name, "step": flag.step, "line": flag.line.render("en")}
                                                 for flag in self.look()]}  # fmt: skip

    def over(self) -> None:
        files.remove(self.folder / FOLDER)


def course_of(objective: Any) -> type[Course] | None:
    """How a model is aligned by an objective; None for one that is for something else."""
    from yanmo.objectives.distill import Distill

    kinds: tuple[tuple[type, type[Course]], ...] = ((Preferring, Pairs), (Rolling, Answers), (Distill, Taught))
    return next((course for kind, course in kinds if isinstance(objective, kind)), None)
