"""Two runs side by side, and many runs in one picture.

Where both runs answered the same items (the same held-out documents, the same test texts), the difference is computed
item by item and has an interval of its own; else only the two figures stand beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import numpy as np

from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.evaluate import measure, seeds
from yanmo.evaluate.figures import Mark, learning_curves, quality_by_time, standalone
from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.head import head_by_type
from yanmo.evaluate.measure import Answer
from yanmo.evaluate.numbers import bounds, figure, metric_name, say
from yanmo.evaluate.permutation import p_value
from yanmo.evaluate.record import Record
from yanmo.evaluate.sections import change, likelihood, overview, scores

VALUES = ("value", "low", "high", "n")


def compare(first: str | Path, second: str | Path, console: Console | None = None) -> list[dict[str, Any]]:
    """[{model, task, metric, group?, first, second, difference: {value, low, high, p} | None}]: `first` and `second` are lines of
    results.json without their names, or None where a run lacks them; the difference is second - first, p that of a paired
    permutation test on the items. Models NAME-seed1, NAME-seed2 … of both runs are also one method, NAME (`seeds.py`)."""
    left, right = evaluated(first), evaluated(second)
    keys = list(dict.fromkeys([*left.figures, *right.figures]))
    rows = []
    with (console or Console(quiet=True)).bar("compare", len(keys), "figures") as bar:
        for model, task, metric, group in keys:
            one, other = (record.figure(model, task, metric, group) for record in (left, right))
            change = None
            if one and other and one["value"] is not None and other["value"] is not None:
                change = {"value": round(other["value"] - one["value"], 6), "low": None, "high": None, "p": None}
                if model not in FLOORS and not group:
                    change |= _paired(left, right, model, task, metric)
            rows.append({"model": model, "task": task, "metric": metric, **({"group": group} if group else {}),
                         "first": _values(one), "second": _values(other), "difference": change})  # fmt: skip
            bar.advance()
    for row in seeds.differences(seeds.families(left), seeds.families(right)):
        sides = {side: {key: row[side][key] for key in (*VALUES, "sd", "seeds")} for side in ("first", "second")}
        rows.append(row | sides | {"difference": row["difference"] | {"p": None}})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The comparison as lines of text: whole tasks only, groups left to --json."""
    return aligned(cells(rows))


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The same as cells, head first."""
    head = [say("task"), say("model"), say("metric"), say("first"), say("second"), say("difference")]
    lines = [head]
    for row in rows:
        if row.get("group"):
            continue
        change = row["difference"]
        shown = "–"
        if change is not None:
            shown = f"{change['value']:+.4f}"
            if change["low"] is not None:
                shown += f" [{change['low']:+.4f}, {change['high']:+.4f}]"
            if change["p"] is not None:
                shown += f" p={change['p']:.2g}"
        values = [figure(side["value"], row["metric"]) if (side := row[name]) else "–" for name in ("first", "second")]
        lines.append([row["task"], row["model"], metric_name(row["metric"]), *values, shown])
    return lines


def side_by_side(run: str | Path) -> str:
    """The models of one run: its language models in one table, as its report has it; then each other task in a table of its
    own; what further training changed; and the means of what several seeds made."""
    record = evaluated(run)
    overviewed = {column.task for column in overview.columns(record)}
    tables = [overview.lines(record)]
    tables += [scores.lines(record, task) for task in record.tables["tasks"] if task not in overviewed]
    tables += [change.lines(record), _seeded(record)]
    found = [aligned(lines) for lines in tables if lines]
    if not found:
        raise RequestError(str(run), text("a run with results"), text("none"))
    return "\n\n".join(found)


def _seeded(record: Record) -> list[list[str]]:
    """The methods with several seeds, head first; empty where there is none."""
    rows = [family.row() for family in seeds.families(record)]
    head = [say("task"), say("method"), say("seeds"), say("metric"), say("mean"), say("standard deviation")]
    return [head, *([row["task"], row["model"], str(row["seeds"]), metric_name(row["metric"]),
                     f"{figure(row['value'], row['metric'])} {bounds(row)}".strip(), figure(row["sd"], row["metric"])]
                    for row in rows)] if rows else []  # fmt: skip


def aligned(lines: list[list[str]]) -> str:
    """Cells under one another; characters of East Asia are two columns wide."""

    def width(cell: str) -> int:
        return sum(2 if east_asian_width(character) in "WF" else 1 for character in cell)

    widths = [max(map(width, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell + " " * (most - width(cell)) for cell, most in zip(line, widths)).rstrip() for line in lines)


def picture(runs: Sequence[str | Path], metric: str = "bits_per_byte", kind: str = "svg") -> bytes:
    """Quality against build time for the models of several runs (the same recipe at several budgets), as 'svg' or 'png':
    a model's points are joined, so that one sees where the lines cross."""
    marks = []
    for run in runs:
        record = evaluated(run)
        for row in record.results:
            seconds = record.seconds(row["model"])
            if row["metric"] == metric and not row.get("group") and row["value"] is not None and seconds:
                marks.append(Mark(row["model"], seconds, row["value"], row["low"], row["high"], row["model"]))
    if not marks:
        raise RequestError(str(runs[0]), text("models with '{metric}' and a build time", metric=metric), text("none"))
    lower = metric.removeprefix("pseudo_") in ("bits_per_byte", "perplexity")
    return standalone(lambda: quality_by_time(marks, metric_name(metric), lower), kind)


def curves(run: str | Path, task: str = "language_modeling", kind: str = "svg") -> bytes:
    """The learning curves of a run's report as a file of their own, 'svg' or 'png'."""
    found, marks = likelihood.learned(evaluated(run), task)
    if not found:
        raise RequestError(str(run), text("a trained model with validations in its metrics.jsonl"), text("none"))
    return standalone(lambda: learning_curves(found, marks), kind)


def evaluated(run: str | Path) -> Record:
    """The record of a run that was evaluated (its last evaluate stage), or of an evaluate stage's folder."""
    place = Path(run)
    if (place / "results.json").is_file():
        return Record(place.parent, place)
    folders = [place / name for name in _evaluations(place) if (place / name / "results.json").is_file()]
    if not folders:
        what = text("no such folder") if not place.exists() else text("no results.json in it")
        raise RequestError(str(run), text("a run that was evaluated"), what)
    return Record(place, folders[-1])


def _evaluations(place: Path) -> list[str]:
    record = Record(place, place / "evaluate")
    kinds = [(item.get("name"), next((key for key in item if key != "name"), "")) for item in record.recipe.get("stages", [])]
    return [name or kind for name, kind in kinds if kind == "evaluate"] or ["evaluate"]


def _values(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key: row[key] for key in VALUES} if row else None


def _paired(left: Record, right: Record, model: str, task: str, metric: str) -> dict[str, Any]:
    """`gap` of a model's answers in two runs."""
    first, second = (list(record.answers(model, task)) for record in (left, right))
    return gap(right.tables["tasks"][task]["type"], metric, first, second)


def gap(kind: str, metric: str, first: list[Answer], second: list[Answer]) -> dict[str, Any]:
    """The interval of the difference second - first and the p of a paired permutation test, {low, high, p}, where both are
    answers to the same items in the same order; else nothing. `kind`: of the task, as tables.json calls it."""
    if not first or [answer["id"] for answer in first] != [answer["id"] for answer in second]:
        return {}
    both = head_by_type(kind).figures(None, [*first, *second]).get(metric)
    if both is None:  # a figure that does not follow from the answers
        return {}
    n = len(first)
    same = all(np.array_equal(column[:n], column[n:], equal_nan=column.dtype.kind == "f") for column in both.columns)
    if same and n > 1 and math.isfinite(both.of(range(n)).value):
        return {"low": 0.0, "high": 0.0, "p": 1.0}  # what every draw and every swap would give
    ends = measure.minus(both.of(range(n, 2 * n)), both.of(range(n))).bounds()
    p = p_value(both)
    found = {"low": measure.rounded(ends[0]), "high": measure.rounded(ends[1])} if ends else {}
    return found | {"p": p if p is None else measure.digits(p)}
