"""Rows of labelled files as examples: which columns are asked for, and what is wrong with a row that lacks them.

The first five offenders of a kind are named together (`offenders.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yanmo.core.config import Settings, describe
from yanmo.core.data import Example, content_id
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text, text
from yanmo.core.paths import written
from yanmo.tasks.offenders import Offenders
from yanmo.tasks.records import Record


class Fields(Settings):
    """What the columns are called in the files."""

    text: str = "text"
    second: str = "second"  # the other text of a pair, where the rows have it
    label: str = "label"
    id: str = "id"  # where rows have one it stands for one row alone
    group: str = "language"  # results are also given for each of its values, where the rows have it


def examples_of(found: Sequence[Record], files: Sequence[Path], fields: Fields,
                label_of: Callable[[Record, Offenders], dict[str, Any] | None]) -> list[Example]:  # fmt: skip
    """An example a row; DataError with the first places where a row is not what it should be. `label_of` gives what an example
    keeps of its label."""
    source = ", ".join(map(written, files[:3])) + (", …" if len(files) > 3 else "")
    if not found:
        raise DataError(source, text("labelled texts"), text("no rows"))
    columns = {name for record in found for name in record.values}
    for field in (fields.text, fields.label):
        if field not in columns:
            given = text("no row has a field '{field}'", field=field)
            raise DataError(source, None, given, nearest(field, columns))
    asked = [fields.text, *([fields.second] if fields.second in columns else []), fields.label]
    offenders = Offenders()
    examples = [example for record in found if (example := _example(record, fields, asked, label_of, offenders)) is not None]
    if fields.id in columns and fields.id not in asked:
        _same_ids(found, fields, asked, offenders)
    offenders.raise_any()
    return examples


def _example(record: Record, fields: Fields, asked: Sequence[str], label_of: Callable[[Record, Offenders], dict[str, Any] | None],
             offenders: Offenders) -> Example | None:  # fmt: skip
    values = record.values
    for field in asked:
        if field not in values:
            offenders.add(f"no {field}", record.where, None, text("field '{field}' is missing", field=field),
                          nearest(field, [str(name) for name in values]))  # fmt: skip
            return None
    sound = [_is_text(record, field, offenders) for field in asked[:-1]]  # of a pair both are looked at
    if not all(sound):
        return None
    label = label_of(record, offenders)
    if label is None:
        return None
    kept: dict[str, Any] = {"text": values[fields.text]}
    if fields.second in asked:
        kept["second"] = values[fields.second]
    kept |= label
    group = label_text(values.get(fields.group))
    if group and fields.group not in asked:
        kept["group"] = f"{fields.group}={group}"
    return Example(content_id(f"{kept['label']}\t{inputs(kept)}"), kept, record.where)


def _is_text(record: Record, field: str, offenders: Offenders) -> bool:
    content = record.values[field]
    if not isinstance(content, str):
        return bad(offenders, record, field, text("a string"), describe(content))
    if not content.strip():
        return bad(offenders, record, field, text("some text"), text("an empty one"))
    if any("\ud800" <= character <= "\udfff" for character in content):
        return bad(offenders, record, field, text("Unicode text"), text("half of a surrogate pair"))
    return True


def bad(offenders: Offenders, record: Record, field: str, expected: Text, given: str | Text) -> bool:
    """Notes a field that is not what it should be; False."""
    said = text("field '{field}' expected {expected}, got {given}", field=field, expected=expected, given=given)
    offenders.add(f"{field} {expected.template}", record.where, None, said, brief=given)
    return False


def _same_ids(found: Sequence[Record], fields: Fields, asked: Sequence[str], offenders: Offenders) -> None:
    """Rows with the id of an earlier one of the same file that say something else."""
    first: dict[tuple[str, str], Record] = {}
    for record in found:
        name = label_text(record.values.get(fields.id))
        if name is None:
            continue
        other = first.setdefault((record.where.rpartition(":")[0], name), record)
        if any(record.values.get(field) != other.values.get(field) for field in asked):
            offenders.add("id", record.where, text("an id of its own for each row"),
                          text("'{id}' again, first at {where}", id=name, where=other.where))  # fmt: skip


def label_text(value: Any) -> str | None:
    """A label as text: 1 → '1', true → 'true'; None for what cannot be one (null, lists, mappings, nothing)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value).strip() or None
    return None


def labels_of(example: Example) -> tuple[str, ...]:
    """The labels of an example: one, or as many as it has."""
    several = example.fields.get("labels")
    return (example.fields["label"],) if several is None else tuple(several)


def inputs(fields: dict[str, Any]) -> str:
    """What a model is shown of an example, as one string: the text, or a pair with a tab between."""
    return fields["text"] if fields.get("second") is None else f"{fields['text']}\t{fields['second']}"


def joined(example: Example) -> str:
    """The inputs, spaces around them left out."""
    return "\t".join(part.strip() for part in (example.fields["text"], example.fields.get("second")) if part is not None)


def inputs_id(example: Example) -> str:
    """The same for examples with the same inputs."""
    return content_id(joined(example))
