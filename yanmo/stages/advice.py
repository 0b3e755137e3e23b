"""`yanmo advise DATA --task T`: which of the models at hand to start from.

Each candidate is tuned for the same short time on the same sample of the training rows, by the code that tunes models for good
(`trial.py`), and answers the same validation examples. The table says how well (with 95% bootstrap intervals over the examples),
how fast, in how much memory, what its tokenizer makes of this data, and how long a full tuning would take.

A candidate is *tied* with the best where the paired permutation test over the examples gives p ≥ 0.05: what the trial cannot
tell apart, the cost decides. What a short trial does not show is said beside: models that saw less than one epoch.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.messages import Text, text
from yanmo.core.registry import create
from yanmo.evaluate import measure
from yanmo.evaluate.head import head_of
from yanmo.evaluate.permutation import p_value
from yanmo.stages.candidates import at_hand, settings
from yanmo.stages.trial import Sample, Trial, known_labels, own_tokenizer, sample_of, try_out
from yanmo.train.soundness.amounts import size

SECONDS = 30.0
ROWS, EXAMPLES, WRITTEN = 2000, 300, 40  # training rows; examples scored; of tasks whose answers are written word by word
WRITTEN_BY = ("text", "prompts")  # heads of such tasks
KNOWN = {"planned": text("planned"), "measured": text("measured"), "unknown": text("unknown")}  # how memory is
LEVEL = 0.05  # a smaller p tells two models apart


def advise(task: Any, models: Sequence[str] | None = None, seconds: float | None = None, steps: int | None = None,
           rows: int | None = None, examples: int | None = None, seed: int = 0,
           console: Console | None = None) -> dict[str, Any]:  # fmt: skip
    """{"task", "metric", "higher_is_better", "rows", "examples", "candidates": [row, best first, those left out last], "best",
    "tied", "cheapest", "cheapest_to_tune", "advice": [line]}.

    `seconds` (default 30) of wall clock for each candidate's tuning, loading counted, or `steps`; `rows`: the training rows of
    the sample; `examples`: those that are scored. RequestError for a task that nothing is tuned for, DataError for too little
    data."""
    from yanmo.stages.tuning.tuning import tuning_of

    console = console or Console(quiet=True)
    tuning_of(task)
    if seconds is not None and steps is not None:
        raise RequestError("yanmo advise", text("--seconds or --steps, not both"), f"{seconds:g}, {steps}")
    found = at_hand(task, models)
    for concern in task.check():
        console.warn(str(concern))
    sample = sample_of(task, rows or ROWS, examples or (WRITTEN if task.head in WRITTEN_BY else EXAMPLES), seed)
    length = {"steps": steps} if steps is not None else {"minutes": (SECONDS if seconds is None else seconds) / 60}
    trials = []
    with tempfile.TemporaryDirectory(prefix="yanmo-") as scratch:
        tokenizer = Path(scratch) / "tokenizer"
        own_tokenizer(sample.texts).save(tokenizer)
        for number, candidate in enumerate(found):
            console.log(text("trying {name} ({number} of {all})", name=candidate.name, number=number + 1, all=len(found)))
            place = Path(scratch) / f"run-{number}" / "trial"
            trials.append(try_out(candidate, sample, tokenizer, place, length, seed))
            files.remove(place.parent)  # checkpoints of a large model would fill the disk
    return report(sample, trials, str(task.type))


def task_of(name: str, data: str) -> Any:
    """The task that is called so, or that the settings '{type: …}' describe, on the data at `data`."""
    return create("task", {**settings("--task", name), "path": data})


def report(sample: Sample, trials: Sequence[Trial], name: str) -> dict[str, Any]:
    """The trials compared with the best of them, item by item."""
    task, head = sample.task, head_of(sample.task)
    figures = {trial.candidate.name: figure for trial in trials
               if trial.reason is None and (figure := head.figure(task, trial.lines)) is not None}  # fmt: skip
    sign = 1 if task.higher_is_better else -1
    values = {each: figure.value for each, figure in figures.items() if math.isfinite(figure.value)}
    order = sorted(values, key=lambda each: -sign * values[each])
    best = order[0] if order else None
    lines = {trial.candidate.name: trial.lines for trial in trials}
    rows = []
    for trial in trials:
        mine = trial.candidate.name
        row: dict[str, Any] = {"model": mine, "kind": trial.candidate.kind, "reason": trial.reason, "tied": False, "behind": None}
        if trial.reason is None and mine not in values:
            row["reason"] = str(text("its answers have no finite {metric}", metric=task.metric))
        if row["reason"] is None:
            low, high = figures[mine].bounds() or (math.nan, math.nan)
            row |= {"value": measure.rounded(values[mine]), "low": measure.rounded(low), "high": measure.rounded(high)}
            row |= trial.figures
            if best is not None and mine != best:
                row["behind"] = behind(figures[mine], figures[best], head.figure(task, [*lines[mine], *lines[best]]))
                row["tied"] = row["behind"]["p"] is None or row["behind"]["p"] >= LEVEL
            if known_labels(trial.candidate):
                trial.notes.append(str(text("{name}: tuned before, perhaps on these very rows", name=mine)))
        rows.append(row | {"notes": trial.notes})
    rows.sort(key=lambda row: (row["model"] not in values, order.index(row["model"]) if row["model"] in values else 0))
    tied = [row for row in rows if row["tied"]]
    able = [row for row in rows if row["reason"] is None]
    equals = [row for row in able if row["model"] == best or row["tied"]]
    found: dict[str, Any] = {
        "task": name, "metric": task.metric, "higher_is_better": task.higher_is_better, "rows": sample.rows,
        "of_rows": sample.whole, "examples": len(sample.scored), "candidates": rows, "best": best,
        "tied": [row["model"] for row in tied],
        "cheapest": min(equals, key=lambda row: row["seconds_per_1000"])["model"] if equals else None,
        "cheapest_to_tune": min(equals, key=lambda row: row["full_seconds"])["model"] if equals else None,
    }  # fmt: skip
    return found | {"advice": [str(line) for line in advice(found)]}


def behind(mine: measure.Figure, best: measure.Figure, both: measure.Figure | None) -> dict[str, float | None]:
    """{value, low, high, p}: the paired difference to the best, its 95% interval, and the p of the permutation test."""
    gap = measure.minus(mine, best)
    low, high = gap.bounds() or (math.nan, math.nan)
    p = p_value(both) if both is not None else None
    return {"value": measure.rounded(gap.value), "low": measure.rounded(low), "high": measure.rounded(high),
            "p": None if p is None else measure.digits(p)}  # fmt: skip


def advice(found: dict[str, Any]) -> list[Text]:
    """What to start from, in sentences."""
    if found["best"] is None:
        return [text("none of the models at hand can do the task '{task}'", task=found["task"])]
    rows = {row["model"]: row for row in found["candidates"]}
    best = rows[found["best"]]
    said = [text("start from {best}: {metric} {value} on {examples} validation examples", best=found["best"],
                 metric=found["metric"], value=f"{best['value']:.4f}", examples=found["examples"])]  # fmt: skip
    if found["tied"]:
        said.append(text("not told apart from it by this trial (paired p ≥ {level}): {names}", level=LEVEL,
                         names=", ".join(found["tied"])))  # fmt: skip
        said.append(text("the cheapest of these: {answer} at answering ({each} s for 1,000 texts), "
                         "{tune} at tuning (about {full})",
                         answer=found["cheapest"], each=f"{rows[found['cheapest']]['seconds_per_1000']:.3g}",
                         tune=found["cheapest_to_tune"],
                         full=duration(rows[found["cheapest_to_tune"]]["full_seconds"])))  # fmt: skip
    elif len([row for row in rows.values() if row["reason"] is None]) > 1:
        said.append(text("every other one is worse by more than chance (paired p < {level})", level=LEVEL))
    brief = [row["model"] for row in found["candidates"] if row["reason"] is None and (row["epochs"] or 1) < 1]
    if brief:
        said.append(text("saw less than one epoch of the sample, so more may be in them (--seconds): {names}",
                         names=", ".join(brief)))  # fmt: skip
    return said


# ---------------------------------------------------------------------------------------------- for people


def table(found: dict[str, Any]) -> list[list[str]]:
    """The ranking as cells, a heading first; '*' the best, '=' those tied with it."""
    heading = ["", text("model"), found["metric"], text("95% interval"), text("behind (p)"), text("s/1,000 texts"),
               text("rows/s"), text("memory"), text("bytes/token"), text("tokens/word, /Han"), text("unknown"),
               text("epochs seen"), text("full tuning")]  # fmt: skip
    rows = [list(map(str, heading))]
    for row in found["candidates"]:
        if row["reason"] is None:
            rows.append(_cells(row, found["best"]))
    return rows


def left_out(found: dict[str, Any]) -> list[Text]:
    """A line for each model that cannot do the task."""
    return [text("- {name} cannot: {reason}", name=row["model"], reason=row["reason"])
            for row in found["candidates"] if row["reason"] is not None]  # fmt: skip


def _cells(row: dict[str, Any], best: str | None) -> list[str]:
    gap = row["behind"]
    made = row["tokenizer"]
    p = "?" if gap is None or gap["p"] is None else f"{gap['p']:.3g}"
    interval = f"{row['low']:.3f}-{row['high']:.3f}" if row["low"] is not None else "-"
    memory = "-" if row["memory_bytes"] is None else f"{size(row['memory_bytes'])} ({text(row['memory'])})"
    return ["*" if row["model"] == best else "=" if row["tied"] else "", row["model"], f"{row['value']:.4f}", interval,
            "" if gap is None else f"{gap['value']:+.3f} ({p})", f"{row['seconds_per_1000']:.3g}",
            f"{row['samples_per_second']:,.3g}" if row["samples_per_second"] < 1000 else f"{row['samples_per_second']:,.0f}",
            memory, "-" if made is None else _number(made["bytes_per_token"]), "-" if made is None else _fertility(made),
            "-" if made is None or made["unknown"] is None else f"{made['unknown']:.2%}",
            "-" if row["epochs"] is None else f"{row['epochs']:.3g}", duration(row["full_seconds"])]  # fmt: skip


def _fertility(made: dict[str, Any]) -> str:
    """Tokens a word of the texts in letters, tokens a character of those in Han."""
    kinds = made["languages"]
    words = next((kinds[kind]["tokens_per_word"] for kind in ("en", "other") if kind in kinds), None)
    han = kinds["zh"]["tokens_per_han"] if "zh" in kinds else None
    return f"{_number(words)}, {_number(han)}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def duration(seconds: float) -> str:
    """12 s, 3.4 min, 2.1 h."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
