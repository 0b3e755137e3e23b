"""`report.html`: what a run amounts to, on one page that needs nothing else.

No script, no outside resource: style sheet and pictures stand in the page. Every text from data is escaped. The same run
gives the same page, but for the timings that it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from yanmo.core import files
from yanmo.core.messages import locale
from yanmo.core.package import VERSION
from yanmo.evaluate.head import Head, head_by_type
from yanmo.evaluate.numbers import heard, say
from yanmo.evaluate.page import Markup, join, listing, tag
from yanmo.evaluate.record import Record
from yanmo.evaluate.sections import change, contamination, corpus, findings, making, overview, writing

NAME = "report.html"


def write_report(directory: Path, evaluation: Path) -> None:
    """The report of the run in `directory`, into it and into the evaluation's own folder."""
    content = report(Record(directory, evaluation))
    for folder in (evaluation, directory):
        files.write_text(folder / NAME, content)


def report(record: Record) -> str:
    sections: list[tuple[str, str, Markup]] = []

    def add(key: str, title: str, make: Callable[[], Markup | None]) -> None:
        body = make()
        if body is not None:
            sections.append((key, title, body))

    add("overview", say("Side by side"), lambda: overview.section(record))
    for task, about in record.tables["tasks"].items():
        kind = head_by_type(about["type"])
        add(task, _numbered(kind.title.render(), task), partial(_task, record, kind, task))
    add("change", say("What further training changed"), lambda: change.section(record))
    add("writing", say("What the models write"), lambda: writing.section(record))
    add("corpus", say("The corpus"), lambda: corpus.section(record))
    add("tokenizers", say("The tokenizers"), lambda: making.tokenizers(record))
    add("training", say("Training"), lambda: making.training(record))
    add("left-out", say("Left out"), lambda: _left_out(record))
    add("lineage", say("From source to result"), lambda: making.lineage(record))
    add("environment", say("Machine and versions"), lambda: making.environment(record))
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    head = tag("head", tag("meta", charset="utf-8"), tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("meta", name="color-scheme", content="light dark"), tag("title", f"{record.name} · Yanmo"),
               tag("style", Markup(style)))  # fmt: skip
    contents = tag("nav", [tag("a", title, href=f"#{key}") for key, title, _ in sections], aria_label=say("Contents"))
    title = [tag("p", say("Yanmo run report"), cls="eyebrow"), tag("h1", record.name)]
    header = tag("header", title, findings.section(record), contents)
    body = [tag("section", tag("h2", title), content, id=key) for key, title, content in sections]
    footer = tag("footer", say("Made by Yanmo {version}. The figures stand in {results}, what each model answered in {answers}.",
                               version=VERSION, results=f"{record.evaluation.name}/results.json",
                               answers=f"{record.evaluation.name}/answers"))  # fmt: skip
    page = tag("html", head, tag("body", header, tag("main", body), footer), lang=locale())
    return f"<!doctype html>\n{page}\n"


def _task(record: Record, kind: Head, task: str) -> Markup | None:
    """The task's section, what of its test stands in the training text at the end."""
    body = kind.section(record, task)
    return None if body is None else join([body, contamination.section(record, task)])


def _numbered(title: str, task: str) -> str:
    """A second task of a type shows its number."""
    number = task.rpartition("-")[2]
    return f"{title} ({number})" if number.isdigit() else title


def _left_out(record: Record) -> Markup | None:
    rows = record.tables.get("left_out", [])
    if not rows:
        return None
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        reasons.setdefault((row["task"], row["reason"]), []).append(row["model"])
    intro = tag("p", say("Models that cannot do a task are not scored on it."))
    return join([intro, listing(f"{task}: {', '.join(models)}: {heard(reason)}" for (task, reason), models in reasons.items())])
