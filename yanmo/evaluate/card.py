"""`card.md`: the model card (Mitchell et al. 2019) of a run, for whoever is handed its models.

It names what the models were made from and under which licence, what they score, what they are for, how to make them
again, and what nobody measured. It says nothing that the run's own files do not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.energy import WATTS, named
from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.head import head_by_type
from yanmo.evaluate.numbers import (
    bounds,
    carbon,
    compact,
    count,
    duration,
    energy,
    figure,
    group_name,
    heard,
    metric_name,
    say,
    size,
)
from yanmo.evaluate.record import Record
from yanmo.evaluate.sections import contamination, scores

NAME = "card.md"
MOST = 8  # groups with a column of their own; of more the languages alone


def write_card(directory: Path, evaluation: Path) -> None:
    """The card of the run in `directory`, into it and into the evaluation's own folder."""
    content = card(Record(directory, evaluation))
    for folder in (evaluation, directory):
        files.write_text(folder / NAME, content)


def card(record: Record) -> str:
    parts = [
        f"# {say('Model card: {name}', name=record.name)}", _summary(record),
        _part(say("Models"), _models(record)), _part(say("Data"), _data(record)), _part(say("Results"), _results(record)),
        _part(say("Intended use and limits"), _limits(record)), _part(say("Making them again"), _again(record)),
        _part(say("Energy"), _energy(record)),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _part(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _summary(record: Record) -> str:
    models = record.tables["models"]
    languages = sorted({source["language"] for corpus in record.corpora for source in corpus["stats"].get("sources", [])
                        if source.get("language")})  # fmt: skip
    named = ", ".join(group_name(f"language={language}") for language in languages)
    made = say("{count} models made by one Yanmo run, from raw text to evaluation.", count=count(len(models)))
    return f"{made} {say('Languages of the text: {names}.', names=named)}" if named else made


def _models(record: Record) -> str:
    rows = []
    for name, facts in record.tables["models"].items():
        kind = facts.get("model_type") or "–"
        labels = say(", {count} labels", count=facts["labels"]) if facts.get("labels") else ""
        rows.append([name, kind + labels, compact(facts.get("parameters")), size(facts.get("bytes")),
                     count(facts.get("vocabulary")), count(facts.get("context")), duration(record.seconds(name))])  # fmt: skip
    head = [say("model"), say("type"), say("parameters"), say("on disk"), say("vocabulary"), say("context"), say("build time")]
    return table(head, rows, right=range(2, 7))


def _data(record: Record) -> str:
    pieces = []
    for corpus in record.corpora:
        stats = corpus["stats"]
        rows = [[source["name"] + (f" ({source['title']})" if source.get("title") else ""), source.get("language") or "–",
                 _licence(source.get("licence")), count(source["in"]), count(source["kept"]), size(source["bytes"])]
                for source in stats.get("sources", [])]  # fmt: skip
        head = [say("source"), say("language"), say("licence"), say("read"), say("kept"), say("size")]
        pieces.append(table(head, rows, right=(3, 4, 5)))
        held = stats.get("splits", {}).get("validation", {})
        pieces.append(say("{dropped} documents were dropped by the recipe's steps, {quarantined} could not be read; {held} "
                          "({size}) are held out and no model or tokenizer was trained on them.",
                          dropped=count(sum(stats.get("dropped", {}).values())),
                          quarantined=count(sum(stats.get("quarantined", {}).values())), held=count(held.get("documents", 0)),
                          size=size(held.get("bytes", 0))))  # fmt: skip
    labelled = [[name, f"{entry['folder']}/ ({', '.join(entry['files'])})" + (f": {entry['title']}" if entry["title"] else ""),
                 _licence(entry["licence"]), count(about["n"])]
                for name, about in record.tables["tasks"].items() for entry in about.get("data", [])]  # fmt: skip
    if labelled:
        pieces.append(table([say("task"), say("data"), say("licence"), say("tested on")], labelled, right=[3]))
    stated = say("A licence is quoted from what stands beside the data; where none is stated, find out before you pass a model "
                 "on. The models carry no licence of their own: what the sources allow decides.")  # fmt: skip
    return "\n\n".join([*pieces, stated]) if pieces else ""


def _licence(licence: str | None) -> str:
    return licence or say("not stated")


def _results(record: Record) -> str:
    pieces = []
    for task, about in record.tables["tasks"].items():
        pieces.append(f"### {task}")
        groups: list[str | None] = [None, *record.groups(task)]
        if len(groups) > MOST:
            groups = [None, *(group for group in record.groups(task) if group.startswith("language="))]
        leading, found = head_by_type(about["type"]).leading, scores.metrics(record, task)
        for metric in [metric for metric in leading if metric in found] if leading else found:
            head = [metric_name(metric), *[_on(record, task, metric, group) for group in groups]]
            models = dict.fromkeys(r["model"] for r in record.results if r["task"] == task and r["metric"] == metric)
            rows = [[f"*{model}*" if model in FLOORS else model, *[_shown(record.figure(model, task, metric, g)) for g in groups]]
                    for model in models]  # fmt: skip
            pieces.append(table(head, rows))
        dirt = contamination.lines(record, task)
        if dirt:
            pieces.append(f"{say('Test items in the training text')}:\n\n{table(dirt[0], dirt[1:], right=range(1, 4))}")
        for told, listed, rest in contamination.items(record, task):
            pieces.append(f"{told}:\n\n{table(listed[0], listed[1:])}" + (f"\n\n{rest}" if rest else ""))
        if about.get("concerns"):
            pieces.append("\n".join(f"- {say('Warning')}: {concern}" for concern in about["concerns"]))
    if not pieces:
        return ""
    note = say("Intervals are bootstrap intervals over the test items: they cover neither other seeds nor other training data. "
               "In italics: floors that need no learning.")  # fmt: skip
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in record.tables.get("left_out", []):
        reasons.setdefault((row["task"], row["reason"]), []).append(row["model"])
    left_out = [say("Not scored on {task}: {models}: {reason}.", task=task, models=", ".join(models), reason=heard(reason))
                for (task, reason), models in reasons.items()]  # fmt: skip
    return "\n\n".join([*pieces, note, *(["\n".join(f"- {line}" for line in left_out)] if left_out else [])])


def _on(record: Record, task: str, metric: str, group: str | None) -> str:
    n = next((r["n"] for r in record.results if (r["task"], r["metric"], r.get("group")) == (task, metric, group)), 0)
    return f"{group_name(group) if group else say('all')} (n = {count(n)})"


def _shown(row: dict[str, Any] | None) -> str:
    return f"{figure(row['value'], row['metric'])} {bounds(row)}".strip() if row else "–"


def _limits(record: Record) -> str:
    lines = [say("For learning, for comparing methods, and as a start for models of one's own; on text like that above.")]
    if any(facts.get("labels") is None for facts in record.tables["models"].values()):
        lines.append(say("The generating models go on with text in the manner of their sources. What they write is not "
                         "information: they know no facts, follow no instructions, and repeat what their sources say, "
                         "prejudice included."))  # fmt: skip
    if any(facts.get("labels") for facts in record.tables["models"].values()):
        lines.append(say("The classifiers know only their labels: a text that belongs to none still gets one. Their "
                         "probabilities are as far from the truth as the calibration error in the report says."))  # fmt: skip
    lines.append(say("Not tested: other kinds of text, other languages, fairness between groups of people, privacy of what the "
                     "sources hold, resistance to misuse."))  # fmt: skip
    return "\n".join(f"- {line}" for line in lines)


def _again(record: Record) -> str:
    environment = record.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items())
    lines = [say("`recipe.yaml` has every default written out, seed {seed} among them: `yanmo run recipe.yaml` makes the run "
                 "again.", seed=record.recipe.get("seed", "–"))]  # fmt: skip
    if "budget" in record.recipe:
        lines.append(say("The recipe has a budget in minutes: what was decided by measuring stands in each stage's `plan.json`."))
    if versions:
        lines.append(say("Versions: {versions}.", versions=versions))
    lines.append(say("Commit: {commit}.", commit=environment.get("commit") or say("an installed package, no commit")))
    rows = [[m["stage"], m["kind"], f"`{m['digest']}`"] for m in record.manifests]
    listed = "\n".join(f"- {line}" for line in lines)
    return f"{listed}\n\n{table([say('stage'), say('kind'), say('digest of its outputs (sha256)')], rows)}" if rows else listed


def _energy(record: Record) -> str:
    total = sum(float(manifest["seconds"]) for manifest in record.manifests)
    hardware = record.environment.get("hardware", {})
    machine = hardware.get("processor") or hardware.get("machine") or say("an unknown machine")
    costs = record.costs
    if not costs:
        return say("Not measured, and not estimated. The stages took {time} of wall clock on {machine} ({cores} cores).",
                   time=duration(total), machine=machine, cores=hardware.get("cores", "?"))  # fmt: skip
    rows = [[stage, duration(cost.get("seconds")), energy(cost.get("joules")), named(cost.get("method", "unknown")).render(),
             carbon(cost)] for stage, cost in costs.items()]  # fmt: skip
    head = [say("stage"), say("time"), say("energy"), say("how it was found"), say("carbon dioxide")]
    known = {stage: cost for stage, cost in costs.items() if cost.get("joules") is not None}
    rest = max(0.0, total - sum(_wall(record, stage) for stage in costs))
    stated = say("On {machine} ({cores} cores); other stages ({time} of wall clock in all) were not looked at.", machine=machine,
                 cores=hardware.get("cores", "?"), time=duration(rest))  # fmt: skip
    sums = say("Together {energy}.", energy=energy(sum(float(cost["joules"]) for cost in known.values()))) if known else ""
    if known and any("grams" in cost for cost in known.values()):
        sums = say("Together {energy} and {carbon} of carbon dioxide.",
                   energy=energy(sum(float(cost["joules"]) for cost in known.values())),
                   carbon=carbon({"grams": sum(float(cost.get("grams", 0.0)) for cost in known.values())}))  # fmt: skip
    meaning = say("'Measured' is read from the hardware's counters, of everything that ran on it; 'estimated' is from "
                  "processor time, at {watts} W a core. Carbon is estimated from a country's yearly mean, where a recipe names "
                  "the country.",
                  watts=f"{WATTS:.0f}")  # fmt: skip
    return "\n\n".join(part for part in (table(head, rows, right=(1, 2, 4)), f"{sums} {stated}".strip(), meaning) if part)


def _wall(record: Record, stage: str) -> float:
    return next((float(m["seconds"]) for m in record.manifests if m["stage"] == stage), 0.0)


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()) -> str:
    """A Markdown table; what would break it is escaped."""
    flush = set(right)

    def line(cells: Iterable[Any]) -> str:
        shown = (" ".join(str(cell).split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
        return "| " + " | ".join(shown) + " |"

    rule = "|" + "|".join("---:" if index in flush else "---" for index in range(len(head))) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])
