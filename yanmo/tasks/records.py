"""Labelled files, record by record, with the line of each for messages: JSON lines, CSV, TSV.

A corpus quarantines what it cannot read and goes on; labelled data is small and precious, so here broken lines stop the work
and the first of them are named.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yanmo.core.config import describe
from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.core.paths import written
from yanmo.tasks.offenders import Offenders, decoded

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Record:
    where: str  # file:line
    values: dict[str, Any]


def records(path: Path) -> Iterator[Record]:
    """The records of one file; blank lines are skipped, anything else that is not a record is a DataError."""
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _table(path, "\t" if path.suffix.lower() == ".tsv" else ",")
    else:
        yield from _json_lines(path)


def _json_lines(path: Path) -> Iterator[Record]:
    offenders = Offenders()
    for number, line in _lines(path):
        where = f"{written(path)}:{number}"
        if not line.strip():
            continue
        values = _object(line.strip())
        if isinstance(values, dict) and not offenders.found:
            yield Record(where, values)
        elif not isinstance(values, dict):
            offenders.add("json", where, text("a JSON object on one line"), values)
    offenders.raise_any()


def _object(line: str) -> dict[str, Any] | str | Text:
    """The object on a line, or what stands there instead."""
    try:
        values = json.loads(line)
    except RecursionError:
        return text("brackets nested too deep")
    except ValueError as error:
        reason = f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else str(error)
        return f"{describe(line)}: {reason}"
    return values if isinstance(values, dict) else describe(values)


def _table(path: Path, delimiter: str) -> Iterator[Record]:
    """Rows by the names in the first line. A quoted value may hold line ends: a row is named by its first line."""
    csv.field_size_limit(1 << 30)
    reader = csv.reader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    number = 1
    try:
        for cells in reader:
            where, number = f"{written(path)}:{number}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                twice = next((name for name in header if header.count(name) > 1), None)
                if twice is not None:
                    raise DataError(where, None, text("two columns are named '{name}'", name=twice))
                continue
            if len(cells) != len(header):
                raise DataError(where, text("{count} columns as in the first line", count=len(header)), str(len(cells)),
                                text("put double quotes around a text that holds the separator"))  # fmt: skip
            yield Record(where, dict(zip(header, cells)))
    except csv.Error as error:
        raise DataError(f"{written(path)}:{number}", text("a CSV row"), str(error)) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text; the bytes are split at line feeds only, so that U+2028 and alike stay inside a line."""
    with open(path, "rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                shown = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                decoded(path)  # says which lines of the file are not
                raise
            yield number, shown
