"""How often each model prefers the grammatical one of two sentences, by phenomenon."""

from __future__ import annotations

from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.numbers import bounds, count, duration, figure, group_name, say
from yanmo.evaluate.page import Markup, join, table, tag
from yanmo.evaluate.record import Record
from yanmo.evaluate.sections.likelihood import difference_lines, scale_of, whisker

METRIC = "accuracy"


def section(record: Record, task: str) -> Markup | None:
    models = ranked(record, task)
    if not models:
        return None
    about = record.tables["tasks"][task]
    intro = say("{count} pairs of sentences, one of each against the grammar in one point. A model is right where the good one "
                "is the more probable; masked models are asked for the pseudo-likelihood. A tie or a value that is not finite "
                "counts as wrong, and half is chance.", count=count(about["n"]))  # fmt: skip
    lines = difference_lines(about, METRIC)
    note = tag("p", say("Differences on the same pairs:"), " ", "; ".join(lines), ".", cls="note") if lines else None
    return join([tag("p", intro), _table(record, task, models), note, _phenomena(record, task, models)])


def ranked(record: Record, task: str) -> list[str]:
    """The models and the floor, best first."""
    rows = [r for r in record.results if r["task"] == task and r["metric"] == METRIC and not r.get("group")]
    return [r["model"] for r in sorted(rows, key=lambda r: (r["value"] is None, -(r["value"] or 0)))]


def _table(record: Record, task: str, models: list[str]) -> Markup:
    about = record.tables["tasks"][task]["models"]
    found = [row for model in models if (row := record.figure(model, task, METRIC))]
    scale = scale_of([row[end] for row in found for end in ("low", "high", "value") if row[end] is not None])
    languages = [group for group in record.groups(task) if group.startswith("language=")]
    rows = []
    for row in found:
        model = row["model"]
        cells = [figure((record.figure(model, task, METRIC, group) or {}).get("value"), METRIC) for group in languages]
        value = [tag("span", figure(row["value"], METRIC), cls="best" if model == models[0] else None),
                 tag("span", bounds(row), cls="interval")]  # fmt: skip
        by = {"likelihood": say("likelihood"), "pseudo-likelihood": say("pseudo-likelihood"),
              "likelihood behind a gap": say("likelihood behind a gap")}.get(about.get(model, {}).get("by"), "–")  # fmt: skip
        built = duration(record.seconds(model)) if model not in FLOORS else "–"
        rows.append([model, value, whisker(row, scale), *cells, by, count(about.get(model, {}).get("undecided")), built])
    head = [say("model"), say("accuracy"), "", *map(group_name, languages), say("by"), say("undecided"), say("build")]
    numbers = [*range(3, 3 + len(languages)), len(head) - 2, len(head) - 1]
    return table(head, rows, numbers=numbers, marked=[index for index, model in enumerate(models) if model in FLOORS])


def _phenomena(record: Record, task: str, models: list[str]) -> Markup | None:
    """A row for each group, a column for each model."""
    groups = [group for group in record.groups(task) if not group.startswith("language=")]
    if not groups:
        return None
    shown = [model for model in models if model not in FLOORS]
    rows = []
    for group in groups:
        figures = [record.figure(model, task, METRIC, group) or {} for model in shown]
        cells = [figure(row.get("value"), METRIC) for row in figures]
        rows.append([(group.partition("=")[2] or group).replace("_", " "), count(figures[0].get("n")), *cells])
    head = [say("phenomenon"), say("pairs"), *shown]
    return table(head, rows, numbers=range(1, len(head)), caption=say("Accuracy by phenomenon"))
