"""What further training changed: before and after, on general text and on the field's own, with the difference's interval."""

from __future__ import annotations

from yanmo.evaluate.numbers import figure, group_name, metric_name, say
from yanmo.evaluate.page import Markup, join, table, tag
from yanmo.evaluate.record import Json, Record


def rows(record: Record) -> list[tuple[str, Json]]:
    """(task, one line of its changes), in the order of the tasks."""
    return [(task, row) for task, about in record.tables["tasks"].items() for row in about.get("changes", [])]


def section(record: Record) -> Markup | None:
    found = lines(record)
    if not found:
        return None
    intro = say("Models that others under evaluation were trained further from, and what that changed, item by item on the same "
                "held-out text. Below 0 is better in bits per byte, above 0 in accuracy; where the interval holds 0, the items "
                "do not tell which of the two is better.")  # fmt: skip
    return join([tag("p", intro), table(found[0], found[1:], numbers=range(4, 7))])


def lines(record: Record) -> list[list[str]]:
    """The same as cells of text, head first; empty where no model was made of another."""
    found = rows(record)
    if not found:
        return []
    head = [say("model"), say("made of"), say("on"), say("metric"), say("before"), say("after"), say("difference")]
    return [head, *([row["model"], row["from"], _on(task, row), metric_name(row["metric"]), figure(row["before"], row["metric"]),
                     figure(row["after"], row["metric"]), difference(row)] for task, row in found)]  # fmt: skip


def difference(row: Json) -> str:
    """'-0.412 [-0.430, -0.394]'."""
    gap, digits = row["difference"], len(figure(0.0, row["metric"])) - 2
    if gap["value"] is None:
        return "–"
    shown = f"{gap['value']:+.{digits}f}"
    return shown if gap["low"] is None else f"{shown} [{gap['low']:+.{digits}f}, {gap['high']:+.{digits}f}]"


def _on(task: str, row: Json) -> str:
    return f"{task}, {group_name(row['group'])}" if row.get("group") else task
