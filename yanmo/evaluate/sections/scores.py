"""A task without a page of its own: every metric of every model with its interval, floors beside, then by group."""

from __future__ import annotations

from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.numbers import bounds, count, duration, figure, group_name, metric_name, say
from yanmo.evaluate.page import Markup, join, table, tag
from yanmo.evaluate.record import Json, Record
from yanmo.evaluate.sections.likelihood import difference_lines, scale_of, whisker


def section(record: Record, task: str) -> Markup | None:
    models = ranked(record, task)
    if not models:
        return None
    about = record.tables["tasks"][task]
    intro = say("{count} test items. A tie or a value that is not finite counts as wrong.", count=count(about["n"]))
    concerns = [tag("p", concern, cls="note warning") for concern in about.get("concerns", [])]
    return join([tag("p", intro), *concerns, _table(record, task, models), _note(record, task), _groups(record, task, models)])


def metrics(record: Record, task: str) -> list[str]:
    """The task's own first, then the others in the order of the results."""
    main = record.tables["tasks"][task]["metric"]
    found = dict.fromkeys(row["metric"] for row in record.results if row["task"] == task)
    return [metric for metric in (main, *(metric for metric in found if metric != main)) if metric in found]


def ranked(record: Record, task: str) -> list[str]:
    """The models and the floors with any figure, by the task's metric, the best first."""
    about = record.tables["tasks"][task]
    rows = {r["model"]: None for r in record.results if r["task"] == task}
    sign = 1 if lower_is_better(about) else -1

    def place(model: str) -> tuple[bool, float]:
        value = (record.figure(model, task, about["metric"]) or {}).get("value")
        return (value is None, sign * (value or 0.0))

    return sorted(rows, key=place)


def lower_is_better(about: Json) -> bool:
    from yanmo.core.registry import resolve

    task: type = resolve("task", about["type"])
    return not getattr(task, "higher_is_better", True)


def tiles(record: Record, task: str) -> list[Markup]:
    metric = record.tables["tasks"][task]["metric"]
    return tile(record, task, ranked(record, task), metric, f"{task}: {metric_name(metric)}")


def tile(record: Record, task: str, models: list[str], metric: str, what: str) -> list[Markup]:
    """The best model's figure in large letters, under it what it is; `models` in their order, the best first."""
    best = next((model for model in models if model not in FLOORS), None)
    row = record.figure(best, task, metric) if best else None
    if row is None:
        return []
    return [tag("div", tag("div", figure(row["value"], metric), cls="value"),
                tag("div", f"{what} · {best} ", tag("span", bounds(row), cls="interval"), cls="what"))]  # fmt: skip


def lines(record: Record, task: str) -> list[list[str]]:
    """The same table as cells of text, head first; empty where no model has done the task."""
    shown, models = metrics(record, task), ranked(record, task)
    head = [task, *map(metric_name, shown), say("build")]
    rows = [[model, *[_shown(record.figure(model, task, metric)) for metric in shown], _built(record, model)] for model in models]
    return [head, *rows] if rows else []


def _shown(row: Json | None) -> str:
    return f"{figure(row['value'], row['metric'])} {bounds(row)}".strip() if row else "–"


def _built(record: Record, model: str) -> str:
    return duration(record.seconds(model)) if model not in FLOORS else "–"


def _table(record: Record, task: str, models: list[str]) -> Markup:
    shown = metrics(record, task)
    main = shown[0]
    first = [row for model in models if (row := record.figure(model, task, main))]
    scale = scale_of([row[end] for row in first for end in ("low", "high", "value") if row[end] is not None])
    rows = []
    for model in models:
        row = record.figure(model, task, main) or {}
        value = [tag("span", figure(row.get("value"), main), cls="best" if model == models[0] else None),
                 tag("span", bounds(row) if row else "", cls="interval")]  # fmt: skip
        others = [_shown(record.figure(model, task, metric)) for metric in shown[1:]]
        rows.append([model, value, whisker(row, scale), *others, _built(record, model)])
    head = [say("model"), metric_name(main), "", *map(metric_name, shown[1:]), say("build")]
    floors = [index for index, model in enumerate(models) if model in FLOORS]
    return table(head, rows, numbers=range(3, len(head)), marked=floors)


def _note(record: Record, task: str) -> Markup:
    about = record.tables["tasks"][task]
    said = [say("Intervals are 95% bootstrap intervals over the test items: they cover neither other seeds nor other training "
                "data.")]  # fmt: skip
    found = difference_lines(about, about["metric"]) if about.get("best") else []
    if found:
        said.append(say("Differences on the same items: {lines}.", lines="; ".join(found)))
    cut = [say("{model} read only the beginning of {count} texts", model=model, count=count(entry["truncated"]))
           for model, entry in about["models"].items() if entry.get("truncated")]  # fmt: skip
    return tag("p", " ".join([*said, *(["; ".join(cut) + "."] if cut else [])]), cls="note")


def _groups(record: Record, task: str, models: list[str]) -> Markup | None:
    """A row for each group, a column for each model, in the task's metric."""
    groups, metric = record.groups(task), metrics(record, task)[0]
    if not groups:
        return None
    shown = [model for model in models if model not in FLOORS]
    rows = []
    for group in groups:
        found = [record.figure(model, task, metric, group) or {} for model in shown]
        n = next((row["n"] for row in found if row), None)
        rows.append([group_name(group), count(n), *[figure(row.get("value"), metric) for row in found]])
    head = [say("group"), say("items"), *shown]
    caption = say("{metric} by group", metric=metric_name(metric))
    return table(head, rows, numbers=range(1, len(head)), caption=caption)
