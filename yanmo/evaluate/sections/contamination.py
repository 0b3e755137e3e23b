"""What of a test stands in what the models were trained on: figures on all items, clean and dirty ones, and the dirty items."""

from __future__ import annotations

from pathlib import PurePath

from yanmo.evaluate.numbers import bounds, count, figure, metric_name, say
from yanmo.evaluate.page import Markup, join, language_of, more, table, tag
from yanmo.evaluate.record import Json, Record

KINDS = ("overall", "clean", "dirty")


def of(record: Record, task: str) -> dict[str, Json]:
    """Model → what tables.json says of it; empty where nothing was looked for, or no model's training text is known."""
    return record.tables["tasks"][task].get("contamination") or {}


def section(record: Record, task: str) -> Markup | None:
    found = of(record, task)
    if not found:
        return None
    rows = lines(record, task)
    intro = say("A test item is dirty where a document that the model was trained on has 13 words or 26 Chinese characters in a "
                "row in common with it. Items below eight words are not looked for: nothing is known of them.")  # fmt: skip
    pieces = [tag("h3", say("Test items in the training text")), tag("p", intro),
              table(rows[0], rows[1:], numbers=range(1, len(rows[0])))]  # fmt: skip
    for models, about in _alike(found):
        if about["dirty"]:
            head, items = _items(about)
            cells = [[tag("span", cell, lang=language_of(cell)) for cell in row] for row in items]
            summary = say("{count} dirty items of {models} and where they were found", count=count(about["dirty"]), models=models)
            rest = _rest(about)
            pieces.append(more(summary, table(head, cells), tag("p", rest, cls="note") if rest else None))
    return join(pieces)


def lines(record: Record, task: str) -> list[list[str]]:
    """A row for each model as cells of text, head first: how many items of each kind, and the task's metric on each."""
    metric = record.tables["tasks"][task]["metric"]
    head = [say("model"), say("clean items"), say("dirty items"), say("not looked for")]
    head += [f"{metric_name(metric)}, {name}" for name in (say("all"), say("clean"), say("dirty"))]
    rows = []
    for model, about in of(record, task).items():
        ends = about["figures"].get(metric, {})
        rows.append([model, *[count(about[kind]) for kind in ("clean", "dirty", "short")],
                     *[_shown(ends.get(kind), metric) for kind in KINDS]])  # fmt: skip
    return [head, *rows] if rows else []


def items(record: Record, task: str) -> list[tuple[str, list[list[str]], str]]:
    """Of each set of models with the same training text: their names, the dirty items as cells of text, head first, and what is
    said of those that are not shown."""
    return [(models, [head, *rows], _rest(about)) for models, about in _alike(of(record, task)) if about["dirty"]
            for head, rows in [_items(about)]]  # fmt: skip


def sentences(record: Record) -> list[str]:
    """What the first lines of the report say: each task with dirty items."""
    said = []
    for task, about in record.tables["tasks"].items():
        for models, found in _alike(of(record, task)):
            if found["dirty"]:
                said.append(say("{task}: {count} of {total} test items stand in the training text of {models}.", task=task,
                                count=count(found["dirty"]), total=count(about["n"]), models=models))  # fmt: skip
    return said


def _alike(found: dict[str, Json]) -> list[tuple[str, Json]]:
    """Models that were trained on the same text share their dirty items: (names, what is said of the first)."""
    sets: dict[str, list[str]] = {}
    for model, about in found.items():
        sets.setdefault(repr((about["documents"], about["short"])), []).append(model)
    return [(", ".join(models), found[models[0]]) for models in sets.values()]


def _items(about: Json) -> tuple[list[str], list[list[str]]]:
    head = [say("test item"), say("its text"), say("training document"), say("in common")]
    return head, [[PurePath(item["where"]).name, item["text"], _place(item), item["shared"]] for item in about["items"]]


def _place(item: Json) -> str:
    return f"{PurePath(item['file']).name}: {item['document']}" if item.get("file") else str(item["document"])


def _rest(about: Json) -> str:
    left = about["dirty"] - len(about["items"])
    return say("{count} more stand in {file}.", count=count(left), file="tables.json") if left > 0 else ""


def _shown(row: Json | None, metric: str) -> str:
    return "–" if row is None else f"{figure(row['value'], metric)} {bounds({**row, 'metric': metric})}".strip()
