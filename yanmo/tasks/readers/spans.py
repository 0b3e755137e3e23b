"""JSON lines with a text and its entities, by characters:

    {"text": "Marie Curie in Paris", "spans": [{"start": 0, "end": 11, "label": "PER"}, {"start": 15, "end": 20, "label": "LOC"}]}
    {"text": "居里夫人住在巴黎。", "spans": [[0, 4, "PER"], [6, 8, "LOC"]]}

`end` is the place behind the last character. `fields` renames what is called otherwise (doccano, spaCy, Label Studio).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yanmo.core.config import Settings, describe
from yanmo.core.data import Span
from yanmo.core.errors import nearest
from yanmo.core.messages import Text, text
from yanmo.tasks.offenders import Offenders, decoded
from yanmo.tasks.readers.tagged import Reading, Tagged
from yanmo.tasks.records import Record, records


class Fields(Settings):
    """What is called how in the rows, and in each of their spans."""

    text: str = "text"
    spans: str = "spans"
    start: str = "start"
    end: str = "end"
    label: str = "label"
    group: str = "language"  # results are also given for each of its values, where the rows have it


def read(path: Path, reading: Reading, fields: Fields) -> list[Tagged]:
    """The texts of one file; what is wrong goes to the reading's offenders."""
    decoded(path)
    found = []
    for record in records(path):
        made = _row(record, reading, fields)
        if made is not None:
            found.append(made)
    return found


def _row(record: Record, reading: Reading, fields: Fields) -> Tagged | None:
    values, offenders = record.values, reading.offenders
    for field in (fields.text, fields.spans):
        if field not in values:
            offenders.add(f"missing {field}", record.where, None, text("field '{field}' is missing", field=field),
                          nearest(field, [str(name) for name in values]))  # fmt: skip
            return None
    content, listed = values[fields.text], values[fields.spans]
    if not isinstance(content, str):
        _wrong(offenders, record, fields.text, text("a string"), describe(content))
        return None
    if not isinstance(listed, list):
        _wrong(offenders, record, fields.spans, text("a list of {what}", what="{start, end, label}"), describe(listed))
        return None
    spans = []
    for item in listed:
        span = _span(item, fields)
        if span is None:
            _wrong(offenders, record, fields.spans, text("a list of {what}", what="{start, end, label}"), describe(item))
            return None
        spans.append((span, record.where))
    group = values.get(fields.group)
    named = f"{fields.group}={group}" if isinstance(group, str | int) and str(group).strip() else ""
    return reading.tagged(content, spans, record.where, named)


def _span(item: Any, fields: Fields) -> Span | None:
    """A mapping, or the three in a list; numbers that are whole."""
    if isinstance(item, dict):
        item = [item.get(fields.start), item.get(fields.end), item.get(fields.label)]
    if not isinstance(item, list) or len(item) != 3:
        return None
    start, end, label = item
    if any(isinstance(number, bool) or not isinstance(number, int) for number in (start, end)):
        return None
    return Span(start, end, label.strip()) if isinstance(label, str) and label.strip() else None


def _wrong(offenders: Offenders, record: Record, field: str, expected: Text, given: str) -> None:
    said = text("field '{field}' expected {expected}, got {given}", field=field, expected=expected, given=given)
    offenders.add(f"wrong {field}", record.where, None, said)
