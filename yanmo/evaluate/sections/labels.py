"""How well each model labels texts: floors beside, then where it errs, label by label."""

from __future__ import annotations

from collections import Counter

from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.numbers import bounds, count, duration, figure, group_name, say
from yanmo.evaluate.page import Markup, join, language_of, listing, more, table, tag
from yanmo.evaluate.record import Record
from yanmo.evaluate.sections.likelihood import difference_lines, scale_of, whisker

LARGEST = 60  # labels that a confusion matrix may have: beyond that nobody reads it
ERRORS = 12


def section(record: Record, task: str) -> Markup | None:
    about = record.tables["tasks"][task]
    models = ranked(record, task)
    if not models:
        return None
    labels = about["labels"]
    intro = say(
        "{count} test texts with {labels} labels. Macro-F1 is the mean of the labels' F1 scores, so that a rare label counts as "
        "much as a frequent one; accuracy is the share of texts labelled right. The floors need no learning: chance draws "
        "labels at random, majority always says the most frequent training label. A tie or a value that is not finite counts "
        "as wrong.", count=count(about["n"]), labels=count(len(labels)),
    )  # fmt: skip
    best = about["best"]
    concerns = [tag("p", concern, cls="note warning") for concern in about.get("concerns", [])]
    details = [more(say("Label by label: {model}", model=model), *_per_label(record, task, model))
               for model in models if model not in FLOORS and model != best and not _constant(about, model)]  # fmt: skip
    return join([tag("p", intro), *concerns, _table(record, task, models), _note(record, task),
                 tag("h3", say("Label by label: {model}", model=best)), *_per_label(record, task, best), *details])  # fmt: skip


def ranked(record: Record, task: str) -> list[str]:
    rows = [r for r in record.results if r["task"] == task and r["metric"] == "macro_f1" and not r.get("group")]
    return [r["model"] for r in sorted(rows, key=lambda r: (r["value"] is None, -(r["value"] or 0)))]


def _table(record: Record, task: str, models: list[str]) -> Markup:
    groups = record.groups(task)
    head = [say("model"), say("macro-F1"), "", say("accuracy"), *map(group_name, groups), "MCC", "AUROC",
            say("calibration error"), say("build")]  # fmt: skip
    found = [row for model in models if (row := record.figure(model, task, "macro_f1"))]
    scale = scale_of([value for row in found for value in (row["low"], row["high"], row["value"]) if value is not None])
    rows = []
    for model in models:
        f1, right = record.figure(model, task, "macro_f1"), record.figure(model, task, "accuracy")
        assert f1 is not None
        assert right is not None
        cells = [figure((record.figure(model, task, "macro_f1", g) or {}).get("value"), "macro_f1") for g in groups]
        others = [figure((record.figure(model, task, metric) or {}).get("value"), metric) for metric in ("mcc", "auroc")]
        table_of = record.tables["tasks"][task]["models"].get(model, {})
        value = [tag("span", figure(f1["value"], "macro_f1"), cls="best" if model == models[0] else None),
                 tag("span", bounds(f1), cls="interval")]  # fmt: skip
        rows.append([model, value, whisker(f1, scale),
                     [figure(right["value"], "accuracy"), tag("span", bounds(right), cls="interval")],
                     *cells, *others,
                     figure(table_of.get("ece"), "ece"),
                     duration(record.seconds(model)) if model not in FLOORS else "–"])  # fmt: skip
    floors = [index for index, model in enumerate(models) if model in FLOORS]
    return table(head, rows, numbers=range(4, len(head)), marked=floors)


def _note(record: Record, task: str) -> Markup:
    about = record.tables["tasks"][task]
    lines = difference_lines(about, "macro_f1")
    cut = [say("{model} read only the beginning of {count} texts", model=model, count=count(entry["truncated"]))
           for model, entry in about["models"].items() if entry.get("truncated")]  # fmt: skip
    groups = record.groups(task)
    said = [say("Intervals are 95% bootstrap intervals over the test texts.")]
    if groups:
        said.append(say("The columns {names} are macro-F1 on those texts alone.", names=", ".join(map(group_name, groups))))
    if lines:
        said.append(say("Differences on the same texts: {lines}.", lines="; ".join(lines)))
    if cut:
        said.append("; ".join(cut) + ".")
    return tag("p", " ".join(said), cls="note")


def _per_label(record: Record, task: str, model: str) -> list[Markup | None]:
    about = record.tables["tasks"][task]
    entry, labels = about["models"][model], about["labels"]
    rows = [[row["label"], figure(row["precision"]), figure(row["recall"]), figure(row["f1"]), count(row["support"])]
            for row in sorted(entry["per_class"], key=lambda row: (row["f1"], row["label"]))]  # fmt: skip
    per_label = table([say("label, worst first"), say("precision"), say("recall"), "F1", say("texts")], rows, numbers=range(1, 5))
    return [per_label, confusion(labels, entry["confusion"]), _errors(record, task, model)]


def _constant(about: dict, model: str) -> bool:
    """Whether a model gave every text the same label (the majority class): its tables say nothing more."""
    return sum(any(column) for column in zip(*about["models"][model]["confusion"])) < 2


def confusion(labels: list[str], counts: list[list[int]]) -> Markup | None:
    """Rows: the true label; columns: the predicted one. Shade: the share of the row."""
    if len(labels) > LARGEST:
        return None
    if not any(row[len(labels)] for row in counts):
        counts = [row[: len(labels)] for row in counts]
    columns = [*labels, say("no decision")][: len(counts[0])]
    rows = []
    for index, (label, row) in enumerate(zip(labels, counts)):
        total = sum(row) or 1
        cells = [
            tag("td", value or None, title=f"{label} → {columns[column]}: {value}",
                cls="right" if column == index else None,
                style=_shade(value / total) if value else None)
            for column, value in enumerate(row)
        ]  # fmt: skip
        rows.append(tag("tr", tag("th", label, scope="row"), cells))
    head = tag("thead", tag("tr", tag("th", ""), [tag("th", tag("div", name), scope="col") for name in columns]))
    caption = tag("caption", say("Confusion: each row a true label, each column what was predicted; darker is more of the row"))
    return tag("div", tag("table", caption, head, tag("tbody", rows), cls="confusion"), cls="scroll")


def _shade(share: float) -> str:
    return f"background: rgba(var(--heat), {0.85 * share:.2f})" + ("; color: var(--paper)" if share > 0.6 else "")


def _errors(record: Record, task: str, model: str) -> Markup | None:
    """The most frequent confusions, and the surest of the wrong answers."""
    wrong = [answer for answer in record.answers(model, task) if answer["predicted"] != answer["label"]]
    if not wrong:
        return None
    pairs = Counter((answer["label"], answer["predicted"] or say("no decision")) for answer in wrong)
    often = [say("{count} × {truth} taken for {predicted}", count=n, truth=truth, predicted=predicted)
             for (truth, predicted), n in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:6]]  # fmt: skip
    surest = sorted((a for a in wrong if a["score"] is not None), key=lambda a: (-a["score"], a["where"]))[:ERRORS]
    rows = [[tag("span", a["text"], lang=language_of(a["text"])), a["label"], a["predicted"] or "–", figure(a["score"]),
             a["where"]] for a in surest]  # fmt: skip
    head = [say("text"), say("label"), say("predicted"), say("probability"), say("row")]
    title = say("The {count} wrong answers that it was surest of", count=len(rows))
    return join([tag("p", say("Most often confused:"), cls="note"), listing(often),
                 more(title, table(head, rows, numbers=[3])) if rows else None])  # fmt: skip
