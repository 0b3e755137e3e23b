"""What control costs: for each strength of a guide's advice, how often texts are what was asked for, and how fluent they are."""

from __future__ import annotations

from yanmo.evaluate.numbers import bounds, figure, metric_name, say
from yanmo.evaluate.page import Markup, join, table, tag
from yanmo.evaluate.record import Record

METRICS = ("control", "fluency", "repetition")


def section(record: Record, task: str) -> Markup | None:
    """None where no strengths were compared."""
    groups = [group for group in record.groups(task) if group.startswith("strength=")]
    own = [row for row in record.results if row["task"] == task and row.get("group") in groups]
    models = dict.fromkeys(row["model"] for row in own)
    shown = [metric for metric in METRICS if any(row["metric"] == metric for row in own)]
    rows = []
    for model in models:
        for group in groups:
            found = [record.figure(model, task, metric, group) for metric in shown]
            cells = [f"{figure(row['value'])} {bounds(row)}".strip() if row else "–" for row in found]
            rows.append([model, group.partition("=")[2], *cells])
    if not rows:
        return None
    intro = say("Control is the share of texts that the judge finds to be what was asked for; fluency is how many bits per byte "
                "the reader finds in them, fewer is better. At strength 0 the model writes without advice, among the same "
                "candidates.")  # fmt: skip
    head = [say("model"), say("strength"), *map(metric_name, shown)]
    return join([tag("h3", say("Control against fluency")), tag("p", intro), table(head, rows, numbers=range(1, len(head)))])
