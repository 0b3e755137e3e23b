"""Who stands where in a run's results: what each model is there, what it is held against, and what making it took.

A model is 'ours' where the run trained it, a 'baseline' where it was fitted in one go, 'as it came' where no stage of the run
made it, 'together' where several answer as one, and a 'floor' where nothing was made at all. Ours are held against the best
baseline by the task's metric; without one against what the model was made of, else against the best model as it came, else
the best floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from yanmo.core.energy import weaker
from yanmo.core.manifest import missing, read_manifest
from yanmo.core.registry import resolve
from yanmo.evaluate.compare import gap
from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.record import Json, Record
from yanmo.evaluate.sections import scores

Role = Literal["ours", "baseline", "as it came", "together", "floor"]


@dataclass(frozen=True)
class Cost:
    """Of the stages that a model is made of: wall clock and processor time in seconds, energy in joules; None: nobody knows."""

    seconds: float | None = None
    processor: float | None = None
    joules: float | None = None
    method: str = "unknown"


@dataclass(frozen=True)
class Reference:
    """What a model is held against, and by how much it is ahead: {value, low, high, p}, None where there is no such figure."""

    model: str
    difference: Json


def unfinished(record: Record) -> list[str]:
    """The recipe's stages without a finished, whole folder."""
    names = [item.get("name") or next(iter(item)) for item in record.recipe.get("stages", [])]
    found = {name: read_manifest(record.directory / name) for name in names}
    return [name for name, manifest in found.items() if manifest is None or missing(record.directory / name, manifest)]


def role(record: Record, model: str) -> Role:
    facts = record.tables["models"].get(model)
    if model in FLOORS or facts is None:
        return "floor"
    if facts.get("model_type") == "ensemble" or "+" in model:
        return "together"
    manifest = _manifest(record, model)
    if manifest is None:
        return "as it came"
    part = manifest["settings"].get("model")
    cls: Any = resolve("model", part["type"]) if isinstance(part, dict) and "type" in part else None
    return "baseline" if getattr(cls, "tasks", ()) else "ours"


def stages(record: Record, model: str) -> list[str]:
    """Those that made the model: its own, and before it those whose model it went on from; of several together all of theirs."""
    members = model.split("+") if role(record, model) == "together" else [model]
    found: dict[str, None] = {}
    waiting = [str(m["stage"]) for name in members if (m := _manifest(record, name)) is not None]
    known = {m["stage"]: m for m in record.manifests}
    while waiting:
        stage = waiting.pop(0)
        if stage in known and stage not in found:
            found[stage] = None
            waiting += [str(link["from"]) for link in known[stage].get("inputs") or [] if link["role"] == "model"]
    return list(found)


def cost(record: Record, model: str) -> Cost:
    """Sums over the model's stages; a figure that one of them lacks is None."""
    known = {m["stage"]: m for m in record.manifests}
    made = stages(record, model)
    if not made:
        return Cost()
    own = [known[stage].get("cost") or {} for stage in made]
    spent = [record.costs.get(stage) or other for stage, other in zip(made, own)]
    method = "measured"
    for one in spent:
        method = weaker(method, one.get("method", "unknown"))
    return Cost(sum(float(known[stage]["seconds"]) for stage in made), _sum([one.get("cpu_seconds") for one in own]),
                _sum([one.get("joules") for one in spent]), method)  # fmt: skip


def reference(record: Record, task: str, model: str) -> Reference | None:
    """None for floors and baselines, and where there is nothing to hold a model against."""
    kind = role(record, model)
    if kind not in ("ours", "together"):
        return None
    metric = record.tables["tasks"][task]["metric"]
    order = [name for name in scores.ranked(record, task) if name != model and _value(record, task, metric, name) is not None]
    if _value(record, task, metric, model) is None:
        return None
    roles = {name: role(record, name) for name in order}
    origins = [row["from"] for row in record.tables["tasks"][task].get("changes", []) if row["model"] == model]
    others = {kind: [name for name in order if roles[name] == kind] for kind in ("baseline", "as it came", "floor")}
    for chosen in (others["baseline"], [name for name in order if name in origins], others["as it came"], others["floor"]):
        if chosen:
            return Reference(chosen[0], _ahead(record, task, metric, model, chosen[0]))
    return None


def _ahead(record: Record, task: str, metric: str, model: str, other: str) -> Json:
    difference = _value(record, task, metric, model) - _value(record, task, metric, other)
    found = {"value": round(difference, 6), "low": None, "high": None, "p": None}
    if other in FLOORS:
        return found
    return found | gap(record.tables["tasks"][task]["type"], metric, list(record.answers(other, task)),
                       list(record.answers(model, task)))  # fmt: skip


def _value(record: Record, task: str, metric: str, model: str) -> Any:
    return (record.figure(model, task, metric) or {}).get("value")


def _manifest(record: Record, model: str) -> Json | None:
    stage = record.tables["models"].get(model, {}).get("stage")
    return next((m for m in record.manifests if m["stage"] == stage), None) if stage else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if len(known) == len(values) else None
