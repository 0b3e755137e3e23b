"""Conversations, in the forms in which they are passed around; each record by its own fields:

    messages     {"messages": [{"role": "user", "content": "…"}, …], "tools": […]}
    ShareGPT     {"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}], "system": "…"}
    Alpaca       {"instruction": "…", "input": "…", "output": "…", "system": "…", "history": [["…", "…"]]}
    ChatterBot   a YAML file with `conversations`, each a list of utterances, the user's and the assistant's in turn

Files are JSON lines, one JSON array, or YAML. Whatever the form, what comes out are messages in an order that a model can be
asked in: the system's first, then the user's and the assistant's in turn, tools' answers behind the assistant's calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yanmo.core.config import describe
from yanmo.core.errors import DataError, RequestError, nearest
from yanmo.core.messages import Text, text
from yanmo.core.paths import written
from yanmo.tasks.offenders import decoded
from yanmo.tasks.records import Record, records
from yanmo.text.chat import ROLES, validate

Messages = list[dict[str, Any]]
ENDINGS = (".jsonl", ".ndjson", ".json", ".yml", ".yaml")
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
            "bot": "assistant", "model": "assistant", "system": "system", "tool": "tool", "observation": "tool",
            "function_response": "tool"}  # fmt: skip  # ShareGPT's
FOLLOWS = {"": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user", "tool"),
           "tool": ("assistant", "tool")}  # fmt: skip  # who may speak after whom; "" is the beginning


def conversations(path: Path) -> Iterator[Record]:
    """The records of one file; DataError for what is no record at all."""
    if path.suffix.lower() in (".yml", ".yaml"):
        yield from _yaml(path)
    elif path.suffix.lower() == ".json" and decoded(path).lstrip()[:1] == "[":
        yield from _array(path)
    else:
        yield from records(path)


def messages_of(record: Record) -> Messages:
    """A record's conversation, by the fields that it has. DataError with the place of what is wrong."""
    values = record.values
    if "messages" in values:
        found = values["messages"]
    elif "conversations" in values or "conversation" in values:
        name = "conversations" if "conversations" in values else "conversation"
        found = _spoken(record, name, values[name])
    elif "instruction" in values:
        found = _instructed(record)
    else:
        expected = text("'messages', 'conversations', or 'instruction' and 'output'")
        remedy = nearest(next(iter(values), ""), ("messages", "conversations", "instruction"))
        raise DataError(record.where, expected, ", ".join(map(repr, values))[:80] or text("none"), remedy)
    if "messages" not in values and isinstance(values.get("system"), str) and values["system"].strip():
        found = [{"role": "system", "content": values["system"]}, *found]
    return ordered(record, checked(record, found))


def checked(record: Record, found: Any) -> Messages:
    """Messages of known roles, none of them empty."""
    try:
        messages = validate(found)
    except RequestError as error:
        raise DataError(f"{record.where}: {error.where}", error.expected, error.given, error.remedy) from None
    for index, message in enumerate(messages):
        content = message["content"]
        if not content.strip() and not message.get("tool_calls"):
            raise _bad(record, f"messages[{index}].content", text("some text"), text("an empty one"))
        if any("\ud800" <= character <= "\udfff" for character in content):
            raise _bad(record, f"messages[{index}].content", text("Unicode text"), text("half of a surrogate pair"))
    return messages


def ordered(record: Record, messages: Messages) -> Messages:
    """The messages, if each follows whom it may follow and the assistant answers at least once; else DataError."""
    before = ""
    for index, message in enumerate(messages):
        if message["role"] not in FOLLOWS[before]:
            expected = text("one of {choices}", choices=", ".join(map(repr, FOLLOWS[before])))
            raise _bad(record, f"messages[{index}].role", expected, repr(message["role"]))
        before = message["role"]
    if not any(message["role"] == "assistant" for message in messages):
        raise DataError(record.where, text("an answer of the assistant"), text("none"))
    return messages


def _spoken(record: Record, field: str, turns: Any) -> Messages:
    """ShareGPT's turns, or messages under its name."""
    if not isinstance(turns, list):
        raise _bad(record, field, text("a list of turns"), describe(turns))
    made = []
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys() | ({"from", "value"} if "role" in turn else set()):
            raise _bad(record, f"{field}[{index}]", text("a mapping with 'from' and 'value'"), describe(turn))
        if "role" in turn:
            made.append(turn)
            continue
        who = SPEAKERS.get(str(turn["from"]).lower())
        if who is None:
            remedy = nearest(str(turn["from"]), SPEAKERS)
            expected = text("one of {choices}", choices=", ".join(map(repr, SPEAKERS)))
            raise _bad(record, f"{field}[{index}].from", expected, repr(turn["from"])[:80], remedy)
        made.append({"role": who, "content": turn["value"]})
    return made


def _instructed(record: Record) -> Messages:
    """Alpaca's: the input stands behind the instruction, what was said before comes first."""
    values = record.values
    if "output" not in values:
        missing = text("field '{field}' is missing", field="output")
        raise DataError(record.where, None, missing, nearest("output", map(str, values)))
    made: Messages = []
    history = values.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise _bad(record, "history", text("a list of pairs of texts"), describe(history))
    for asked, answer in history:
        made += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    for field in ("instruction", "output", *(("input",) if values.get("input") is not None else ())):
        if not isinstance(values[field], str):
            raise _bad(record, field, text("a string"), describe(values[field]))
    asked = values["instruction"] + (f"\n\n{values['input']}" if (values.get("input") or "").strip() else "")
    return [*made, {"role": "user", "content": asked}, {"role": "assistant", "content": values["output"]}]


def _array(path: Path) -> Iterator[Record]:
    place = written(path)
    try:
        found = json.loads(decoded(path))
    except RecursionError:
        raise DataError(place, text("a list of conversations"), text("brackets nested too deep")) from None
    except json.JSONDecodeError as error:
        raise DataError(f"{place}:{error.lineno}", text("valid JSON"), f"{error.msg} (column {error.colno})") from None
    for index, values in enumerate(found):
        if not isinstance(values, dict):
            raise DataError(f"{place}[{index}]", text("a mapping"), describe(values))
        yield Record(f"{place}[{index}]", values)


def _yaml(path: Path) -> Iterator[Record]:
    """ChatterBot's: utterances in turn, each named by its line."""
    import yaml

    place = written(path)
    try:
        root: Any = yaml.compose(decoded(path), yaml.SafeLoader)
        whole = yaml.safe_load(decoded(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{place}:{mark.line + 1}" if mark is not None else place
        raise DataError(where, text("valid YAML"), " ".join(str(getattr(error, "problem", error)).split())) from None
    talks = whole.get("conversations") if isinstance(whole, dict) else None
    if not isinstance(talks, list):
        raise DataError(place, text("a list 'conversations'"), describe(talks))
    nodes: Any = next(value for key, value in root.value if key.value == "conversations")
    for node, talk in zip(nodes.value, talks):
        where = f"{place}:{node.start_mark.line + 1}"
        if not isinstance(talk, list):
            raise DataError(where, text("a list of utterances"), describe(talk))
        turns = [{"role": ROLES[1 + number % 2], "content": _utterance(said)} for number, said in enumerate(talk)]
        yield Record(where, {"messages": turns})


def _utterance(said: Any) -> Any:
    """What YAML reads as a number or a truth value was written as a text."""
    return str(said) if isinstance(said, bool | int | float) else said


def _bad(record: Record, field: str, expected: Text, given: str | Text, remedy: Text | None = None) -> DataError:
    said = text("field '{field}' expected {expected}, got {given}", field=field, expected=expected, given=given)
    return DataError(record.where, None, said, remedy)
