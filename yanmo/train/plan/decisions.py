"""The dial: what a recipe leaves open about a training, decided once, before its first step.

Where the recipe gives steps, tokens or epochs (or nothing at all), everything follows by rule from the recipe, the data
and the hardware's own description, so that two runs give the same bytes. Where it gives minutes, a probe trains a few
steps of the real thing, and depth, precision, compilation and the number of steps follow from the speed it finds. Either
way the decisions are plain data, kept in the stage's plan.json: recipe and plans together repeat a run.

The figures behind the rules, and the experiments they come from, are in LOG.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from yanmo.core import energy
from yanmo.core.config import dump_part
from yanmo.core.energy import Meter
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.core.registry import create
from yanmo.train.machine import precision
from yanmo.train.machine.gauge import gpus_of
from yanmo.train.machine.precision import compiler
from yanmo.train.optimizers.groups import WIDTH
from yanmo.train.plan.speed import Speed
from yanmo.train.records import record
from yanmo.train.settings import Train

TOKENS_A_WEIGHT = 20  # trained tokens for each weight of a matrix product, where nothing says how long: Hoffmann et al. 2022
DEEPER = 1.5  # tokens for each weight from which a deeper model is chosen, where a length is given: short runs are limited
#               by their steps, and gain from width long before they reach the figure above
EPOCHS = 8  # at most, by rule: repeating is nearly as good as new text up to 4 times and worth little after 16
#             (Muennighoff et al. 2023, figure 3)
REPEATS = 4  # of the text, up to which what a model learns more easily does it no harm on other text
STEPS = 500  # a batch is small enough for so many steps, if the tokens allow it
BATCH = (1024, 65_536)  # tokens, the smallest and the largest batch that a rule chooses
MICRO = {"cpu": 4096, "cuda": 32_768}  # tokens of one forward and backward pass
DEPTH = 6  # the deepest that is chosen without a clock
DEPTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
VALIDATIONS = 8
COMPILE_SECONDS = 45  # what compiling may cost; it is tried where a tenth of the time is more than that
FASTER = 0.87  # of the time in float32: a precision that takes less is worth its rounding
SPARE = 0.06  # of a budget: saving, logging, and a machine that slows down
FINETUNE_EPOCHS = 20  # at most, unless the recipe says otherwise; the best epoch on the validation rows is kept
DEFAULT_OPTIMIZER = {"transformer": "muon"}


Probe = Callable[[Any, int, int, str, bool], Speed]  # (part, context, micro rows, precision, compile)


@dataclass
class Case:
    """What there is to train: `part` (a model's settings, None where the model is loaded), and how much text."""

    train: Train
    part: Any
    vocabulary: int
    text_tokens: int  # of the training split
    context: int | None  # as the objective has it
    limit: int | None  # the longest context that the model takes, where it has a limit
    minutes: float | None  # the budget's share
    started: float  # time.monotonic() when the stage began
    probe: Probe
    where: str  # for messages: the stage


def decide(case: Case) -> dict[str, Any]:
    """The plan of a language model's pretraining as plain data."""
    train = case.train
    device = device_of(train)
    minutes = train.minutes or (None if train.timed is False else case.minutes)
    plan: dict[str, Any] = {
        "device": device.type, "threads": train.threads or torch.get_num_threads(),
        "precision": train.precision or precision.rule(device), "compile": bool(train.compile),
    }  # fmt: skip
    torch.set_num_threads(plan["threads"])
    if train.joules is not None:
        plan |= by_meter(case, plan, train.joules, device)
    elif minutes is None:
        part, context, tokens = by_rule(case)
        if train.compile is None:
            plan["compile"] = device.type == "cuda" and compiler()
        plan |= sizes(case, part, context, tokens, device)
    else:
        plan |= by_probe(case, plan, minutes, device)
    optimizer: Any = train.optim or create("optimizer", DEFAULT_OPTIMIZER.get(case.part.type, "adamw"))
    plan["optimizer"] = dump_part(optimizer.filled(plan["model"].get("width") or WIDTH, case.text_tokens))
    plan["schedule"] = dump_part(train.schedule or create("schedule", "wsd"))
    return plan


def by_rule(case: Case) -> tuple[Any, int, float]:
    """(complete part, context, tokens to train on) without measuring anything."""
    train = case.train
    given = train.tokens or (train.epochs * case.text_tokens if train.epochs else None)
    if given is None and train.steps is not None:
        given = train.steps * train.batch_tokens if train.batch_tokens else None
    part = case.part
    if open_depth(part):
        affordable = given / DEEPER if given else EPOCHS * case.text_tokens / TOKENS_A_WEIGHT
        part = complete(part, min(deepest(case, affordable), DEPTH))
    context = context_of(case, part, given)
    part = complete(part, None, context)
    if given is None and train.steps is not None:
        given = train.steps * batch_of(TOKENS_A_WEIGHT * weights(part, case.vocabulary))
    tokens = given or min(TOKENS_A_WEIGHT * weights(part, case.vocabulary), EPOCHS * case.text_tokens)
    return part, context, tokens


def deepest(case: Case, affordable: float) -> int:
    """The deepest of DEPTHS whose weights are at most `affordable`; the shallowest two-layer one if none is."""
    fitting = [depth for depth in DEPTHS if weights(complete(case.part, depth), case.vocabulary) <= affordable]
    return max(fitting, default=1)


def by_probe(case: Case, plan: dict[str, Any], minutes: float, device: torch.device) -> dict[str, Any]:
    """Depth, precision, compilation and steps from the measured speed, for `minutes` of wall clock from `case.started`."""
    deadline = case.started + 60 * minutes
    context = context_of(case, case.part, None)
    rows = max(1, (case.train.micro_tokens or micro_tokens(case.train, device)) // context)
    measured: list[dict[str, Any]] = []

    def probe(part: Any, form: str, compiled: bool) -> Speed:
        speed = case.probe(part, context, rows, form, compiled)
        shown = {"depth": getattr(part, "depth", None), "width": getattr(part, "width", None), "precision": form,
                 "compile": compiled, "tokens_per_second": round(rows * context / speed.micro, 1),
                 "step_seconds": round(speed.step, 5)}  # fmt: skip
        measured.append(shown)
        return speed

    form = plan["precision"]
    dial = 3 if open_depth(case.part) else None
    part = complete(case.part, dial, context)
    speed = probe(part, form, False)
    if open_depth(case.part):
        for _ in range(2):  # a rate measured at one depth chooses another, and is measured again there
            rate = case_flops(part, case.vocabulary, context) * rows * context / speed.micro
            left = (deadline - time.monotonic()) * (1 - SPARE - 0.1)
            wanted = best_depth(case, context, rate, left)
            if wanted == dial:
                break
            dial = wanted
            part = complete(case.part, dial, context)
            speed = probe(part, form, False)
    if case.train.precision is None:
        for other in precision.candidates(device):
            if other != form:
                tried = probe(part, other, False)
                if tried.micro < FASTER * speed.micro:
                    form, speed = other, tried
    compiled = bool(case.train.compile)
    if case.train.compile is not False and compiler():
        left = deadline - time.monotonic()
        if compiled or 0.1 * left > COMPILE_SECONDS:
            before = time.monotonic()
            tried = probe(part, form, True)
            cost = time.monotonic() - before  # paid again when the training itself starts, less what is cached
            if compiled or tried.micro * left < speed.micro * (left - cost):
                compiled, speed = True, tried
                deadline -= cost
    left = max(0.0, (deadline - time.monotonic()) * (1 - SPARE))
    a_token = speed.micro / (rows * context)
    tokens = left / a_token
    for _ in range(6):  # the batch depends on the tokens, and the optimizer's share on the batch
        found = sizes(case, part, context, tokens, device)
        validations = -(-found["steps"] // found["validate_every"])
        validation = validations * found["validation_tokens"] * (2 / 3) * a_token  # forward alone, every token read twice
        steps = (left - validation) / (found["batch_tokens"] * a_token + speed.step)
        tokens = max(1.0, steps) * found["batch_tokens"]
    if open_depth(case.part) and tokens <= REPEATS * case.text_tokens:
        part = timed(part)
    found = sizes(case, part, context, tokens, device)
    horizon = in_seconds(deadline - time.monotonic(), found["batch_tokens"] * a_token + speed.step,
                         found["validation_tokens"] * (2 / 3) * a_token)  # fmt: skip
    return {"precision": form, "compile": compiled, **found, "measured": measured, "minutes": round(minutes, 3),
            "horizon": horizon}  # fmt: skip


def by_meter(case: Case, plan: dict[str, Any], joules: float, device: torch.device) -> dict[str, Any]:
    """As `by_probe`, for `joules` of energy: what a few steps draw turns them into minutes."""
    meter = Meter(gpus_of(device))
    context = context_of(case, case.part, None)
    rows = max(1, (case.train.micro_tokens or micro_tokens(case.train, device)) // context)
    case.probe(complete(case.part, 3 if open_depth(case.part) else None, context), context, rows, plan["precision"], False)
    watts = watts_of(meter, case.where)
    minutes = (time.monotonic() - case.started + (joules - meter.read()["joules"]) / watts) / 60
    found = by_probe(case, plan, min(minutes, case.minutes or minutes), device)
    del found["minutes"]
    return {**found, "joules": joules, "watts": round(watts, 2),
            "horizon": in_joules(found["horizon"], watts, joules - meter.read()["joules"])}  # fmt: skip


def watts_of(meter: Meter, where: str) -> float:
    """What was drawn since the meter was made; RequestError where nothing tells."""
    found = meter.read()
    if not found["joules"]:
        raise RequestError(f"{where}.train.joules", text("a machine that tells what it draws"), text("energy unknown"),
                           text("pip install 'yanmo[{extra}]'", extra="train"))  # fmt: skip
    return float(found["joules"]) / max(found["seconds"], 1e-3)


def in_seconds(left: float, step: float, reserve: float) -> dict[str, Any]:
    """What holds a run to the time that is left, see `horizon`: less a little for saving what was made."""
    return {"unit": "seconds", "limit": round(max(0.0, left) * (1 - SPARE / 3), 3), "step_cost": step, "reserve": reserve}


def in_joules(horizon: dict[str, Any], watts: float, left: float) -> dict[str, Any]:
    return {"unit": "joules", "limit": round(max(0.0, left) * (1 - SPARE / 3), 1),
            "step_cost": watts * horizon["step_cost"], "reserve": watts * horizon["reserve"]}  # fmt: skip


def best_depth(case: Case, context: int, rate: float, seconds: float) -> int:
    """The deepest model that sees DEEPER tokens a weight at `rate` operations a second; small ones run at less
    of the rate, and are chosen all the same where nothing larger can learn anything."""
    for depth in reversed(DEPTHS):
        part = complete(case.part, depth, context)
        tokens = seconds * rate / case_flops(part, case.vocabulary, context)
        if tokens >= DEEPER * weights(part, case.vocabulary):
            return depth
    return DEPTHS[0]


def sizes(case: Case, part: Any, context: int, tokens: float, device: torch.device) -> dict[str, Any]:
    """Everything that is counted: batch, micro-batch, steps, and when to validate and to save."""
    train = case.train
    batch = train.batch_tokens or batch_of(tokens)
    rows = max(1, batch // context)
    micro = min(rows, max(1, (train.micro_tokens or micro_tokens(train, device)) // context))
    steps = train.steps or max(1, round(tokens / (rows * context)))
    every = train.validate_every or max(1, -(-steps // VALIDATIONS))
    total = steps * rows * context
    return {
        "model": dump_part(part), "parameters": parameters(part, case.vocabulary), "context": context,
        "batch_tokens": rows * context, "rows": rows, "micro_rows": micro, "steps": steps,
        "validate_every": every, "checkpoint_every": train.checkpoint_every or every,
        "validation_tokens": int(min(262_144, max(2048, 0.1 * total / VALIDATIONS))),
    }  # fmt: skip


def batch_of(tokens: float) -> int:
    """A power of two between BATCH's bounds that leaves about STEPS steps."""
    size = BATCH[0]
    while size * 2 <= BATCH[1] and tokens / (size * 2) >= STEPS:
        size *= 2
    return size


def context_of(case: Case, part: Any, tokens: float | None) -> int:
    """The objective's context, else the model's, else 256 (512 on a GPU), never beyond the model's."""
    limit = case.limit or getattr(part, "context", None)
    if case.context is not None:
        return case.context  # known to fit: `check_settings`
    return min(limit or 1 << 30, 512 if device_of(case.train).type == "cuda" else 256)


def micro_tokens(train: Train, device: torch.device) -> int:
    return MICRO.get(device.type, MICRO["cpu"])


def check_settings(where: str, train: Train, part: Any, context: int | None) -> None:
    """What can be known to be wrong before any work: a device that is not there, a context beyond the model's."""
    precision.check(train.precision or "fp32", device_of(train), f"{where}.train")
    record.check(train.records, f"{where}.train.records")
    if train.country or energy.country():
        energy.check_country(train.country or str(energy.country()), f"{where}.train.country")
    limit = getattr(part, "context", None)
    if context is not None and limit is not None and context > limit:
        raise RequestError(f"{where}.objective.context", text("at most the model's {context}", context=limit), str(context),
                           text("raise the model's 'context' or lower the other"))  # fmt: skip
    if train.batch_tokens is not None and context is not None and train.batch_tokens < context:
        raise RequestError(f"{where}.train.batch_tokens", text("at least one row of {context} tokens", context=context),
                           str(train.batch_tokens))  # fmt: skip


# ------------------------------------------------------------------------------------------------ of any model's settings


def open_depth(part: Any) -> bool:
    """Whether the part has the dial and the recipe leaves it to us."""
    return callable(getattr(part, "complete", None)) and part.depth is None and getattr(part, "width", None) is None


def complete(part: Any, depth: int | None = None, context: int | None = None) -> Any:
    return part.complete(depth, context) if callable(getattr(part, "complete", None)) else part


def timed(part: Any) -> Any:
    """What the part leaves open, for a training that is limited by time and not by its weights or its text."""
    return part.timed() if callable(getattr(part, "timed", None)) else part


def parameters(part: Any, vocabulary: int) -> int | None:
    count = getattr(part, "parameters", None)
    return count(vocabulary) if callable(count) else None


def case_flops(part: Any, vocabulary: int, context: int) -> float:
    count = getattr(part, "flops", None)
    return count(vocabulary, context) if callable(count) else 6e6


def weights(part: Any, vocabulary: int) -> float:
    """The weights that a token is multiplied with, head included: a sixth of the operations without attention."""
    return case_flops(part, vocabulary, 0) / 6


# ------------------------------------------------------------------------------------------------ of the machine


def device_of(train: Train) -> torch.device:
    chosen = train.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(chosen)
    except RuntimeError:
        raise RequestError("train.device", text("a device such as 'cpu' or 'cuda'"), chosen) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RequestError("train.device", text("a CUDA device"), text("none here"), text("use 'cpu'"))
    return device


def finetune(train: Train, examples: int, tokens: float, minutes: float | None, started: float,
             measure: Callable[[dict[str, Any], str], Speed]) -> dict[str, Any]:  # fmt: skip
    """The plan of a fine-tuning on `examples` rows of `tokens` tokens on average: rows a step, steps, epochs. `measure` gives
    the speed of a step of such `rows`, `micro_rows` and `micro_padded` in a precision; it is asked where a budget decides."""
    device = device_of(train)
    minutes = train.minutes or (None if train.timed is False else minutes)
    plan: dict[str, Any] = {
        "device": device.type, "threads": train.threads or torch.get_num_threads(),
        "precision": train.precision or precision.rule(device), "compile": bool(train.compile),
    }  # fmt: skip
    torch.set_num_threads(plan["threads"])
    rows = min(examples, max(1, round(train.batch_tokens / tokens)) if train.batch_tokens else 32)
    micro = train.micro_tokens or micro_tokens(train, device)
    cut = {"rows": rows, "micro_rows": max(1, min(rows, int(micro / tokens))), "micro_padded": micro}
    epoch = -(-examples // rows)
    if train.steps is not None:
        steps = train.steps
    elif train.tokens is not None:
        steps = max(1, round(train.tokens / (rows * tokens)))
    else:
        steps = max(1, round((train.epochs or FINETUNE_EPOCHS) * epoch))
    if minutes is not None or train.joules is not None:
        meter = Meter(gpus_of(device))
        step = measure(cut, plan["precision"]).seconds(1, 1)
        found = {plan["precision"]: step}
        for other in precision.candidates(device) if train.precision is None else ():
            if other not in found:
                found[other] = measure(cut, other).seconds(1, 1)
                if found[other] < FASTER * step:
                    plan["precision"], step = other, found[other]
        plan |= {"measured": {"step_seconds": {form: round(seconds, 5) for form, seconds in found.items()}}}
        if train.joules is not None:
            watts = watts_of(meter, "finetune")
            left = (train.joules - meter.read()["joules"]) / watts
            plan |= {"joules": train.joules, "horizon": in_joules(in_seconds(left, step, 0.0), watts, left * watts)}
        else:
            assert minutes is not None
            left = started + 60 * minutes - time.monotonic()
            plan |= {"minutes": round(minutes, 3), "horizon": in_seconds(left, step, 0.0)}
        steps = max(1, min(steps, int(left * (1 - SPARE) / step)))
    every = train.validate_every or min(epoch, max(1, steps))
    return {**plan, **cut, "steps": steps, "epochs": round(steps / epoch, 3), "validate_every": every,
            "checkpoint_every": train.checkpoint_every or every}  # fmt: skip
