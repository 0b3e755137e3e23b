"""Questions about passages, as data sets are published: SQuAD 1 and 2, CMRC 2018, and JSON lines or CSV.

    SQuAD, CMRC   {"data": [{"paragraphs": [{"context": …, "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}]}]}
                  and in SQuAD 2 "is_impossible"; "plausible_answers" are not read
    CMRC, older   [{"context_text": …, "qas": [{"query_id", "query_text", "answers": ["…"]}]}]
    JSON lines    {"question", "context", "answers": [{"text", "start"}]}, a line a question; answers may also be texts, one
                  text, or lists side by side {"text": […], "answer_start": […]} as Hugging Face writes them

A question without answers ([], null, or '' in a table) has none in its passage. A start counts characters (code points) from 0;
where an answer has none it is looked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from yanmo.core.config import Settings, describe
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text, text
from yanmo.core.paths import written
from yanmo.tasks.records import ENDINGS, Record, records

__all__ = ["ENDINGS", "Columns", "Question", "Said", "questions"]

IDS = ("id", "query_id")
ASKED = ("question", "query_text")
STARTS = ("start", "answer_start")


class Columns(Settings):
    """What the fields of a row are called in JSON lines and tables; SQuAD's own files have names of their own."""

    question: str = "question"
    context: str = "context"
    answers: str = "answers"
    id: str = "id"
    group: str = "source"  # results are also given for each of its values, where the rows have it
    language: str = "language"  # and for each of these


class Said(NamedTuple):
    """An answer as the file has it; `start` is None where it has none."""

    text: str
    start: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """One question as the file has it, and its place in the file: nothing is checked but what kind of value it is."""

    where: str
    id: str | None
    question: str
    context: str
    answers: tuple[Said, ...]
    group: str = ""
    language: str = ""


def questions(path: Path, columns: Columns) -> Iterator[Question]:
    """The questions of one file; DataError for what is no file of this kind."""
    found = _whole(path) if path.suffix.lower() == ".json" else None
    if isinstance(found, dict):
        yield from _squad(found, written(path))
    elif isinstance(found, list):
        yield from _list(found, written(path), columns)
    else:
        for record in records(path):
            yield _row(record, columns)


def _whole(path: Path) -> Any:
    """The file as one JSON value; None where it holds a value a line."""
    content = path.read_bytes()
    first = content.split(b"\n", 1)[0].strip()
    if first.startswith(b"{") and first.endswith(b"}"):
        try:
            value = json.loads(first.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and "data" not in value:
            return None
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        given = text("byte 0x{byte} at position {position}", byte=f"{content[error.start]:02x}", position=error.start + 1)
        raise DataError(written(path), text("UTF-8 text"), given, text("convert the file to UTF-8")) from None
    except RecursionError:
        raise DataError(written(path), text("a JSON file"), text("brackets nested too deep")) from None
    except json.JSONDecodeError as error:
        raise DataError(f"{written(path)}:{error.lineno}", text("a JSON file"), f"{error.msg} (column {error.colno})") from None
    if isinstance(value, dict) and "data" not in value and (_any(value, ASKED) or "context" in value):
        return None
    if not isinstance(value, dict | list):
        raise DataError(written(path), text("a JSON file of SQuAD's form, or JSON lines"), describe(value))
    return value


def _any(values: dict[str, Any], names: tuple[str, ...]) -> bool:
    return any(name in values for name in names)


def _squad(value: dict[str, Any], where: str) -> Iterator[Question]:
    for a, article in enumerate(_items(value, "data", where)):
        place = f"{where}: data[{a}]"
        for p, paragraph in enumerate(_items(article, "paragraphs", place)):
            yield from _passage(paragraph, f"{place}.paragraphs[{p}]", "context")


def _list(value: list[Any], where: str, columns: Columns) -> Iterator[Question]:
    for number, item in enumerate(value):
        place = f"{where}: [{number}]"
        if isinstance(item, dict) and "qas" in item:
            yield from _passage(item, place, "context_text" if "context_text" in item else "context")
        elif isinstance(item, dict) and "paragraphs" in item:
            for p, paragraph in enumerate(_items(item, "paragraphs", place)):
                yield from _passage(paragraph, f"{place}.paragraphs[{p}]", "context")
        else:
            yield _row(Record(place, _mapping(item, place)), columns)


def _passage(paragraph: Any, where: str, field: str) -> Iterator[Question]:
    context = _text(_mapping(paragraph, where), field, where)
    for q, asked in enumerate(_items(paragraph, "qas", where)):
        place = f"{where}.qas[{q}]"
        values = _mapping(asked, place)
        name = next((name for name in ASKED if name in values), ASKED[0])
        found = answers(values.get("answers"), "answers", place)
        if values.get("is_impossible") is True and found:
            given = text("an answer, '{answer}'", answer=shortened(found[0].text))
            raise DataError(place, text("no answers where 'is_impossible' is true"), given)
        number = next((values[key] for key in IDS if key in values), None)
        yield Question(place, None if number is None else str(number), _text(values, name, place), context, found)


def _row(record: Record, columns: Columns) -> Question:
    values, where = record.values, record.where
    number = values.get(columns.id)
    if columns.answers not in values:
        raise DataError(where, None, text("field '{field}' is missing", field=columns.answers),
                        nearest(columns.answers, [str(name) for name in values]))  # fmt: skip
    return Question(
        where, None if number is None else str(number), _text(values, columns.question, where),
        _text(values, columns.context, where), answers(values[columns.answers], columns.answers, where),
        str(values.get(columns.group) or ""), str(values.get(columns.language) or ""),
    )  # fmt: skip


def answers(value: Any, field: str, where: str) -> tuple[Said, ...]:
    """Answers in any of the forms; DataError for another."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (Said(value, None),)
    if isinstance(value, dict):
        texts = value.get("text")
        starts = next((value[name] for name in STARTS if name in value), None)
        if isinstance(texts, list) and (starts is None or isinstance(starts, list)):
            starts = [None] * len(texts) if starts is None else starts
            if len(starts) != len(texts):
                given = text("{texts} texts and {starts} starts", texts=len(texts), starts=len(starts))
                raise DataError(where, None, text("field '{field}': {problem}", field=field, problem=given))
            return tuple(_said(*pair, field, where) for pair in zip(texts, starts))
        return (_said(texts, starts, field, where),)
    if isinstance(value, list):
        found: list[Said] = []
        for item in value:
            if isinstance(item, dict):
                found += answers(item, field, where)
            else:
                found.append(_said(item, None, field, where))
        return tuple(found)
    raise _wrong(where, field, text("a list of answers"), describe(value))


def _said(content: Any, start: Any, field: str, where: str) -> Said:
    if not isinstance(content, str):
        raise _wrong(where, f"{field}.text", text("a string"), describe(content))
    if start is not None and (isinstance(start, bool) or not isinstance(start, int)):
        raise _wrong(where, f"{field}.start", text("a whole number"), describe(start))
    return Said(content, start)


def shortened(content: str, most: int = 60) -> str:
    """A text as a message shows it."""
    content = " ".join(content.split())
    return content if len(content) <= most else content[: most - 1] + "…"


def _items(value: Any, field: str, where: str) -> list[Any]:
    values = _mapping(value, where)
    if field not in values:
        raise DataError(where, None, text("field '{field}' is missing", field=field), nearest(field, [str(k) for k in values]))
    if not isinstance(values[field], list):
        raise _wrong(where, field, text("a list"), describe(values[field]))
    return values[field]


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(where, text("a mapping"), describe(value))
    return value


def _text(values: dict[str, Any], field: str, where: str) -> str:
    if field not in values:
        raise DataError(where, None, text("field '{field}' is missing", field=field), nearest(field, [str(k) for k in values]))
    if not isinstance(values[field], str):
        raise _wrong(where, field, text("a string"), describe(values[field]))
    return values[field]


def _wrong(where: str, field: str, expected: Text, given: str | Text) -> DataError:
    return DataError(where, None, text("field '{field}' expected {expected}, got {given}", field=field, expected=expected,
                                       given=given))  # fmt: skip
