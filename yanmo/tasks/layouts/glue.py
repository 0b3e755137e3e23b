"""GLUE (Wang et al. 2019) as its archives unpack: a folder a task, tab-separated files without quoting.

The labels of `test.tsv` are not public, so the development files are the test part here, and the validation part is carved
from the training files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.tasks.layouts.layout import Layout, named
from yanmo.tasks.offenders import Offenders, lines
from yanmo.tasks.records import Record


@dataclass(frozen=True)
class Columns:
    """Where a task's files have text, second text and label: names of the first line, or numbers where it has none."""

    text: str | int
    label: str | int
    second: str | int | None = None
    names: dict[str, str] = field(default_factory=dict)  # labels as they are written → as they are called
    dev: tuple[str, ...] = ("dev.tsv",)
    torn: bool = False  # the published file itself has rows of too few columns, which everyone leaves out


PAIRED = {"0": "different", "1": "same"}
ENTAILED = {"entailment": "entailment", "not_entailment": "not_entailment"}
TASKS = {
    "cola": Columns(3, 1, names={"0": "unacceptable", "1": "acceptable"}),
    "sst-2": Columns("sentence", "label", names={"0": "negative", "1": "positive"}),
    "mrpc": Columns("#1 String", "Quality", "#2 String", PAIRED),
    "qqp": Columns("question1", "is_duplicate", "question2", PAIRED, torn=True),
    "mnli": Columns("sentence1", "gold_label", "sentence2", dev=("dev_matched.tsv", "dev_mismatched.tsv"), torn=True),
    "qnli": Columns("question", "label", "sentence", ENTAILED, torn=True),
    "rte": Columns("sentence1", "label", "sentence2", ENTAILED),
    "wnli": Columns("sentence1", "label", "sentence2", {"0": "not_entailment", "1": "entailment"}),
}


class Glue(Layout):
    """GLUE's tab-separated files: cola, sst-2, mrpc, qqp, mnli, qnli, rte, wnli."""

    type: str = "glue"
    task: Literal["cola", "sst-2", "mrpc", "qqp", "mnli", "qnli", "rte", "wnli"]

    def files(self, path: str | dict[str, str]) -> dict[str, list[Path]]:
        return named(path, {"train": ("train.tsv",), "test": TASKS[self.task].dev})

    def records(self, file: Path) -> Iterator[Record]:
        """DataError for rows of another width than the first, and for labels that the task has not."""
        columns = TASKS[self.task]
        rows = lines(file)
        header = [name.strip() for name in rows[0].split("\t")] if rows and isinstance(columns.text, str) else None
        width = len(header) if header is not None else len(rows[0].split("\t")) if rows else 0
        offenders = Offenders()
        wanted = {"text": columns.text, "second": columns.second, "label": columns.label}
        places = {name: _place(column, header, file) for name, column in wanted.items() if column is not None}
        for number, row in enumerate(rows, 1):
            if (number == 1 and header is not None) or not row.strip():
                continue
            where, cells = f"{written(file)}:{number}", row.split("\t")
            if len(cells) != width and not (columns.torn and len(cells) > max(places.values())):
                if not columns.torn:
                    offenders.add("width", where, text("{count} columns as in the first line", count=width), str(len(cells)))
                continue
            values = {name: cells[place] for name, place in places.items()}
            label = values["label"].strip()
            if columns.names and label not in columns.names:
                offenders.add("label", where, text("one of {choices}", choices=", ".join(columns.names)), label or text("none"))
                continue
            values["label"] = columns.names.get(label, label)
            if "mismatched" in file.name or "matched" in file.name:
                values["language"] = file.stem.removeprefix("dev_")
            yield Record(where, values)
        offenders.raise_any()


def _place(column: str | int, header: list[str] | None, file: Path) -> int:
    from yanmo.core.errors import DataError, nearest

    if isinstance(column, int):
        return column
    assert header is not None
    if column not in header:
        raise DataError(f"{written(file)}:1", text("a column '{name}'", name=column), ", ".join(header), nearest(column, header))
    return header.index(column)
