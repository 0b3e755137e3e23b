"""A run as a page of Markdown: what was done on which data, what came of it beside the baselines, and what it took.

Nothing is typed: every line is from the run's own files, so the same run gives the same page. Of a run that is not complete the
page says which stages are missing, and shows what there is. The first line is a comment with the figures in short, from which
`index` makes the table of many pages.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from yanmo.core.energy import WATTS, named
from yanmo.core.errors import DataError
from yanmo.core.files import read_json
from yanmo.core.manifest import read_manifest
from yanmo.core.messages import text
from yanmo.evaluate import seeds
from yanmo.evaluate.card import table
from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.numbers import bounds, compact, count, duration, energy, figure, group_name, heard, metric_name, say, size
from yanmo.evaluate.record import Json, Record
from yanmo.evaluate.sections import change, scores
from yanmo.evaluate.standing import cost, reference, role, unfinished

MOST = 6  # metrics in a table, and groups with a column of their own
SHORT = 12  # characters of a hash that are shown
EDGE = 0.05  # of a training's steps: its first and its last figures are means over these
FIGURES = ("reward", "verified", "accuracy", "margin", "kl", "length", "entropy")  # of an alignment, in this order
SUMMARY = re.compile(r"<!-- yanmo (\{.*\}) -->")


def page(record: Record) -> str:
    """The whole page."""
    lines = [f"<!-- yanmo {json.dumps(summary(record), ensure_ascii=False, sort_keys=True)} -->", f"# {record.name}"]
    left = unfinished(record)
    if left:
        lines.append("**" + say("This run is not complete: {stages} not finished. What stands here is of the other stages alone.",
                                stages=", ".join(left)) + "**")  # fmt: skip
    lines += [f"```bash\n{command(record)}\n```", _part(say("Data"), _data(record)), *tables(record),
              _part(say("Made with"), _made(record))]  # fmt: skip
    return "\n\n".join(line for line in lines if line) + "\n"


def tables(record: Record) -> list[str]:
    """The results alone, a part a task; empty for a run without any."""
    found = [_part(task, _task(record, task)) for task in record.tables["tasks"]]
    found.append(_part(say("Several seeds"), _seeds(record)))
    changed = change.lines(record)
    found.append(_part(say("What further training changed"), table(changed[0], changed[1:], right=(4, 5, 6)) if changed else ""))
    found.append(_part(say("Alignment"), _alignment(record)))
    found = [part for part in found if part]
    return [*found, _notes(record)] if found else []


def command(record: Record) -> str:
    """What the run was begun with, without the places of that machine."""
    words = shlex.split(record.environment.get("command") or f"yanmo run {record.name}")
    kept, skip = [], False
    for word in words:
        if not skip and word not in ("--run-dir", "--json", "--quiet") and not word.startswith("--run-dir="):
            kept.append(PurePath(word).name if word.startswith("/") else word)
        skip = word == "--run-dir"
    return shlex.join(kept)


def _part(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


# ---------------------------------------------------------------------------------------------- data


def _data(record: Record) -> str:
    pieces = []
    hashes = _hashes(record)
    rows = []
    for task, about in record.tables["tasks"].items():
        held = about.get("rows", {"test": about["n"]})
        for entry in about.get("data", []):
            own = [(file, hashes[name]) for file in entry["files"] if (name := f"{entry['folder']}/{file}") in hashes]
            rows.append([task, (f"{entry['title']} " if entry["title"] else "") + f"({entry['folder']}/)",
                         entry["licence"] or say("not stated"),
                         *[count(held.get(split)) for split in ("train", "validation", "test")],
                         ", ".join(f"{file} `{digest[:SHORT]}`" for file, digest in own) or "–"])  # fmt: skip
    if rows:
        head = [say("task"), say("data"), say("licence"), say("to train on"), say("to validate"), say("to test"),
                say("files (sha256)")]  # fmt: skip
        pieces.append(table(head, rows, right=(3, 4, 5)))
    texts = [[corpus["stage"], source["name"], source.get("language") or "–", source.get("licence") or say("not stated"),
              count(source["kept"]), size(source["bytes"])]
             for corpus in record.corpora for source in corpus["stats"].get("sources", [])]  # fmt: skip
    if texts:
        head = [say("corpus"), say("source"), say("language"), say("licence"), say("documents"), say("size")]
        pieces.append(table(head, texts, right=(4, 5)))
    return "\n\n".join(pieces)


def _hashes(record: Record) -> dict[str, str]:
    """Path as the recipe has it → sha256, of every file that a finished stage read."""
    manifests = [*record.manifests, read_manifest(record.evaluation) or {}]
    return {source["path"]: source["sha256"] for manifest in manifests for source in manifest.get("sources") or []}


# ---------------------------------------------------------------------------------------------- results


def _task(record: Record, task: str) -> str:
    about = record.tables["tasks"][task]
    shown, models = scores.metrics(record, task)[:MOST], scores.ranked(record, task)
    rows = []
    for model in models:
        facts = record.tables["models"].get(model, {})
        spent, against = cost(record, model), reference(record, task, model)
        figures = [_figure(record, task, model, metric, index == 0) for index, metric in enumerate(shown)]
        named_so = f"*{model}*" if model in FLOORS else model
        rows.append([named_so, _role(record, model), *figures, *_difference(against, shown[0]), compact(facts.get("parameters")),
                     duration(spent.seconds), duration(spent.processor),
                     *_energy(record, model, spent.joules, spent.method), _device(record, model)])  # fmt: skip
    head = [say("model"), say("role"), *map(metric_name, shown), say("held against"), say("difference"), "p",
            say("parameters"), say("time"), say("processor time"), say("energy"), say("how it was found"),
            say("device")]  # fmt: skip
    numbers = [*range(2, 2 + len(shown)), *range(3 + len(shown), 9 + len(shown))]
    pieces = [table(head, rows, right=numbers), _groups(record, task, shown[0], models)]
    if about.get("optimum") is not None:
        pieces.append(say("The best that can be reached: {value}.", value=figure(about["optimum"], shown[0])))
    pieces += [f"- {say('Warning')}: {concern}" for concern in about.get("concerns", [])]
    return "\n\n".join(piece for piece in pieces if piece)


def _role(record: Record, model: str) -> str:
    names = {"ours": say("ours"), "baseline": say("baseline"), "as it came": say("as it came"), "together": say("together"),
             "floor": say("floor")}  # fmt: skip
    return names[role(record, model)]


def _figure(record: Record, task: str, model: str, metric: str, whole: bool) -> str:
    row = record.figure(model, task, metric)
    if row is None:
        return "–"
    return f"{figure(row['value'], metric)} {bounds(row) if whole else ''}".strip()


def _difference(against: Any, metric: str) -> list[str]:
    """[of whom, by how much, p]."""
    if against is None:
        return ["–", "–", "–"]
    p = against.difference["p"]
    shown = change.difference({"metric": metric, "difference": against.difference})
    return [against.model, shown, "–" if p is None else f"{p:.2g}"]


def _energy(record: Record, model: str, joules: float | None, method: str) -> list[str]:
    if role(record, model) in ("floor", "as it came"):
        return ["–", "–"]
    return [energy(joules), named(method if joules is not None else "unknown").render()]


def _device(record: Record, model: str) -> str:
    """Where it was trained, as its plan says; baselines are fitted on the processor."""
    kind = role(record, model)
    if kind in ("floor", "as it came", "together"):
        return "–"
    stage = record.tables["models"][model]["stage"]
    plan = record.directory / stage / "plan.json"
    found = read_json(plan) if plan.is_file() else {}
    return " ".join(str(found[key]) for key in ("device", "precision") if key in found) or "cpu"


def _groups(record: Record, task: str, metric: str, models: list[str]) -> str:
    groups = record.groups(task)
    if not groups or len(groups) > MOST:
        return ""
    shown = [model for model in models if any(record.figure(model, task, metric, group) for group in groups)]
    rows = [[f"*{model}*" if model in FLOORS else model,
             *[f"{figure(row.get('value'), metric)} {bounds(row) if row else ''}".strip() for group in groups
               for row in [record.figure(model, task, metric, group) or {}]]] for model in shown]  # fmt: skip
    asked = [row for row in record.results if (row["task"], row["metric"]) == (task, metric)]
    sizes = {row["group"]: row["n"] for row in asked if row.get("group")}
    head = [metric_name(metric), *[f"{group_name(group)} (n = {count(sizes[group])})" for group in groups]]
    return table(head, rows, right=range(1, len(head)))


def _seeds(record: Record) -> str:
    rows = [[row["task"], row["model"], str(row["seeds"]), metric_name(row["metric"]),
             f"{figure(row['value'], row['metric'])} {bounds(row)}".strip(), figure(row["sd"], row["metric"])]
            for row in (family.row() for family in seeds.families(record))]  # fmt: skip
    head = [say("task"), say("method"), say("seeds"), say("metric"), say("mean"), say("standard deviation")]
    return table(head, rows, right=(2, 4, 5)) if rows else ""


def _alignment(record: Record) -> str:
    """What each alignment's own figures were in its first and its last steps, and on held-out items."""
    rows = []
    for manifest in record.of_kind("align"):
        training = next(item for item in record.trainings if item.name == manifest["stage"])
        edge = max(1, round(len(training.steps) * EDGE))
        before = record.directory / manifest["stage"] / "before.json"
        held = [*([read_json(before)["figures"]] if before.is_file() else []), *training.validations]
        for name in FIGURES:
            told = [step[name] for step in training.steps if name in step]
            seen = [one[name] for one in held if name in one]
            if told or seen:
                ends = (sum(told[:edge]) / edge, sum(told[-edge:]) / edge) if told else (None, None)
                rows.append([manifest["stage"], record.objective(manifest["stage"]), metric_name(name), *map(figure, ends),
                             *([figure(seen[0]), figure(seen[-1])] if seen else ["–", "–"])])  # fmt: skip
    head = [say("stage"), say("objective"), say("figure"), say("first steps"), say("last steps"), say("held out, before"),
            say("held out, after")]  # fmt: skip
    return table(head, rows, right=(3, 4, 5, 6)) if rows else ""


def _notes(record: Record) -> str:
    said = [say("Intervals are 95% bootstrap intervals over the test items: they cover neither other seeds nor other training "
                "data."),
            say("Differences are taken item by item, p from a paired permutation test. Time and energy are of the stage and of "
                "those whose model it went on from. 'Measured' is read from the hardware's counters, of everything that ran on "
                "it; 'estimated' is from processor time, at {watts} W a core.", watts=f"{WATTS:.0f}")]  # fmt: skip
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in record.tables.get("left_out", []):
        reasons.setdefault((row["task"], row["reason"]), []).append(row["model"])
    left = [say("Not scored on {task}: {models}: {reason}.", task=task, models=", ".join(models), reason=heard(reason))
            for (task, reason), models in reasons.items()]  # fmt: skip
    return " ".join(said) + "".join(f"\n- {line}" for line in left)


def _made(record: Record) -> str:
    found = record.environment
    hardware, versions = found.get("hardware", {}), found.get("versions", {})
    budget = (record.recipe.get("budget") or {}).get("minutes")
    lines = [say("Machine: {machine}, {cores} cores, {memory} of memory.",
                 machine=hardware.get("processor") or hardware.get("machine"), cores=hardware.get("cores"),
                 memory=size(hardware.get("memory_bytes"))),
             say("Versions: {versions}.", versions=", ".join(f"{name} {version}" for name, version in versions.items())),
             say("Commit: {commit}.", commit=found.get("commit") or say("an installed package, no commit")),
             say("Seed: {seed}.", seed=record.recipe.get("seed", "–")),
             say("Wall clock of all finished stages: {time}.", time=duration(_wall(record)))]  # fmt: skip
    if budget is not None:
        lines.append(say("Budget: {minutes} minutes.", minutes=f"{budget:g}"))
    return "\n".join(f"- {line}" for line in lines)


def _wall(record: Record) -> float:
    own = read_manifest(record.evaluation)
    return sum(float(m["seconds"]) for m in [*record.manifests, *([own] if own else [])])


# ---------------------------------------------------------------------------------------------- many pages


def summary(record: Record) -> Json:
    """A run in short: {"recipe", "complete", "seconds", "tasks": {task: {"n", "metric", "ours", "value", "low", "high",
    "against", "ahead": {value, low, high, p}}}}."""
    tasks: dict[str, Json] = {}
    for task, about in record.tables["tasks"].items():
        best = next((model for model in scores.ranked(record, task) if role(record, model) in ("ours", "together")), None)
        row = record.figure(best, task, about["metric"]) if best else None
        if best is None or row is None:
            continue
        against = reference(record, task, best)
        tasks[task] = {"n": about["n"], "metric": about["metric"], "ours": best,
                       **{key: row[key] for key in ("value", "low", "high")},
                       **({"against": against.model, "ahead": against.difference} if against else {})}  # fmt: skip
    return {"recipe": record.name, "complete": not unfinished(record), "seconds": round(_wall(record)), "tasks": tasks}


def index(pages: Mapping[str, str], recipes: list[str]) -> str:
    """The table of all pages {file name: content}, and the recipes that nobody has run. DataError for a page of another make."""
    rows = []
    known = set()
    for name, content in sorted(pages.items()):
        found = SUMMARY.match(content)
        if found is None:
            raise DataError(name, text("a page that was made from a run"), text("no such first line"))
        told = json.loads(found[1])
        known.add(told["recipe"])
        link = f"[{told['recipe']}]({name})"
        state = duration(told["seconds"]) if told["complete"] else say("not complete")
        rows += [[link, state, *_short(task, row)] for task, row in told["tasks"].items()] or [[link, state, *["–"] * 6]]
    rows += [[name, say("not run"), *["–"] * 6] for name in recipes if name not in known]
    head = [say("recipe"), say("time"), say("task"), say("test items"), say("best of ours"), say("result"), say("held against"),
            say("difference")]  # fmt: skip
    intro = say("Each page is made from a run's own files by `python tools/recipe_tables.py RUN…`; nothing in it is typed.")
    return f"# {say('Recipes and what came of them')}\n\n{intro}\n\n{table(head, rows, right=(1, 3))}\n"


def _short(task: str, row: Json) -> list[str]:
    value = f"{metric_name(row['metric'])} {figure(row['value'], row['metric'])} {bounds(row)}".strip()
    ahead = change.difference({"metric": row["metric"], "difference": row["ahead"]}) if "against" in row else "–"
    return [task, count(row["n"]), row["ours"], value, row.get("against", "–"), ahead]


def record_of(run: str | Path) -> Record:
    """A run, complete or not; DataError for a folder that is none."""
    from yanmo.evaluate.compare import evaluated

    place = Path(run)
    if not (place / "recipe.yaml").is_file():
        raise DataError(str(run), text("a run directory"), text("no {name} in it", name="recipe.yaml"))
    finished = any((place / item).is_dir() and (place / item / "results.json").is_file() for item in _names(place))
    return evaluated(run) if finished else Record(place, place / "evaluate")


def _names(place: Path) -> list[str]:
    return [item.get("name") or next(iter(item)) for item in Record(place, place).recipe.get("stages", [])]
