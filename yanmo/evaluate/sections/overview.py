"""Every language model of a run in one table: how well it predicts, how well it tells grammatical sentences, what it took.

Three kinds of figures stand side by side, each in columns of its own: bits per byte, which is a probability of the text;
pseudo bits per byte, which is none; and accuracy on minimal pairs, where every kind is judged alike. The report and
`yanmo compare` show the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

from yanmo.evaluate.floors import FLOORS
from yanmo.evaluate.numbers import bounds, compact, duration, figure, group_name, metric_name, say
from yanmo.evaluate.page import Markup, join, table, tag
from yanmo.evaluate.record import Json, Record

LANGUAGES = (("language_modeling", "bits_per_byte"), ("minimal_pairs", "accuracy"))  # shown for each language too
METRICS = (LANGUAGES[0], ("language_modeling", "pseudo_bits_per_byte"), LANGUAGES[1])


@dataclass(frozen=True)
class Column:
    """A figure of one task: on all of its items, or on those of one language."""

    task: str
    metric: str
    group: str | None

    @property
    def name(self) -> str:
        return say("minimal pairs right") if self.task == "minimal_pairs" else metric_name(self.metric)

    @property
    def title(self) -> str:
        return self.name if self.group is None else f"{self.name}, {group_name(self.group)}"

    @property
    def heading(self) -> Markup:
        return join([self.name, tag("br") if self.group else None, self.group and group_name(self.group)])

    def row(self, record: Record, model: str) -> Json:
        """The line of results.json, empty where there is none."""
        return record.figure(model, self.task, self.metric, self.group) or {}


def columns(record: Record) -> list[Column]:
    """Of each metric that some model has: all, then each language."""
    found = []
    for task, metric in METRICS:
        if any(r["task"] == task and r["metric"] == metric and r["model"] not in FLOORS for r in record.results):
            groups = record.groups(task) if (task, metric) in LANGUAGES else []
            found += [Column(task, metric, group) for group in (None, *(g for g in groups if g.startswith("language=")))]
    return found


def models(record: Record, shown: list[Column]) -> list[str]:
    """Those with a figure, in the order of the recipe, and the floor last."""
    made = [model for model in record.tables["models"] if any(column.row(record, model) for column in shown)]
    return [*made, "chance"] if made else []


def reads(record: Record, model: str) -> str:
    """How it reads, in a few words: what its figures mean follows from that."""
    facts = record.tables["models"].get(model)
    if facts is None:
        return say("floor")
    if facts.get("parameters") is None:
        return say("counted")
    kinds = {"causal": say("left to right"), "masked": say("both sides"), "permuted": say("any order"),
             "encoder-decoder": say("encoder and decoder")}  # fmt: skip
    return kinds.get(str(facts.get("kind")), "–")


def section(record: Record) -> Markup | None:
    """None where there is one kind of figure alone: the section of its task shows that."""
    shown = columns(record)
    if len({column.name for column in shown}) < 2:
        return None
    names = models(record, shown)
    best = {column: _best(record, column, names) for column in shown}
    rows = []
    for model in names:
        cells = [_cell(column, row, model == best[column]) if (row := column.row(record, model)) else None for column in shown]
        rows.append([*_about(record, model), *cells])
    head = [say("model"), say("reads"), say("parameters"), say("build"), *[column.heading for column in shown]]
    intro = say("Every model on the same held-out text and the same pairs of sentences. Bits per byte are probabilities of the "
                "text; fewer is better. Pseudo bits per byte, of models that see both sides of a token, are none, and are not to "
                "be held against them. Of two sentences that differ in one point of grammar every model says which is the more "
                "probable. Intervals: 95% bootstrap over documents or pairs, not over seeds.")  # fmt: skip
    floors = [index for index, model in enumerate(names) if model in FLOORS]
    return join([tag("p", intro), table(head, rows, cls="overview", numbers=range(2, len(head)), marked=floors)])


def lines(record: Record) -> list[list[str]]:
    """The same table as cells of text, head first, intervals on all items alone; empty without language models."""
    shown = columns(record)
    found = [[say("model"), say("reads"), say("parameters"), say("build"), *[column.title for column in shown]]]
    for model in models(record, shown):
        cells = []
        for column in shown:
            row = column.row(record, model)
            value = figure(row.get("value"), column.metric)
            cells.append(f"{value} {bounds(row)}".strip() if row and column.group is None else value)
        found.append([*_about(record, model), *cells])
    return found if len(found) > 1 else []


def _about(record: Record, model: str) -> list[str]:
    facts = record.tables["models"].get(model, {})
    return [model, reads(record, model), compact(facts.get("parameters")), duration(record.seconds(model))]


def _cell(column: Column, row: Json, best: bool) -> Markup:
    value = tag("span", figure(row["value"], column.metric), cls="best" if best else None)
    return join([value, tag("div", bounds(row), cls="interval")])


def _best(record: Record, column: Column, names: list[str]) -> str | None:
    """The model with the best figure; None where fewer than two have one."""
    rows = {model: column.row(record, model) for model in names if model not in FLOORS}
    found = [(row["value"], model) for model, row in rows.items() if row.get("value") is not None]
    if len(found) < 2:
        return None
    return (max(found) if column.metric == "accuracy" else min(found))[1]
