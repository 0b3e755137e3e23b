"""Prompts and answers as a model reads and writes them: a text, or messages by the model's own chat template.

    prompt    "3 + 4 ="                                       <border> 3 + 4 =
              [{"role": "user", "content": "3 + 4?"}]         the template, up to where the assistant's answer begins
    answer    "7"                                             7 <end>; of messages the end of the turn
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yanmo.core.config import describe
from yanmo.core.errors import DataError, RequestError, nearest
from yanmo.core.messages import Text, text
from yanmo.tasks.records import Record

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

Messages = list[dict[str, str]]
Prompt = str | Messages
SHOWN = 80  # characters of a prompt that a message repeats


def prompt_of(record: Record, field: str) -> Prompt:
    """The prompt in a field; DataError with the line where there is none."""
    value = _there(record, field)
    return messages_of(record, field, value) if isinstance(value, list) else _text(record, field, value)


def answer_of(record: Record, field: str) -> str | Messages:
    """The answer in a field: a text, or messages that end with the assistant's."""
    value = _there(record, field)
    if not isinstance(value, list):
        return _text(record, field, value)
    found = messages_of(record, field, value)
    if found[-1]["role"] != "assistant":
        raise _bad(record, field, text("messages that end with the assistant's"), found[-1]["role"])
    return found


def messages_of(record: Record, field: str, value: Any) -> Messages:
    from yanmo.text.chat import validate

    try:
        return validate(value)
    except RequestError as error:
        where = str(error.where).removeprefix("messages")
        raise DataError(f"{record.where}: {field}{where}", error.expected, error.given, error.remedy) from None


def split_conversations(record: Record, fields: tuple[str, str], found: list[Messages]) -> tuple[Messages, list[str]]:
    """(prompt, answers) of two whole conversations that differ in their last message alone."""
    first, second = found
    if len(first) < 2 or first[:-1] != second[:-1]:
        raise _bad(record, fields[1], text("the messages of '{field}' but for the last one", field=fields[0]), shown(second))
    return first[:-1], [first[-1]["content"], second[-1]["content"]]


def shown(prompt: Prompt) -> str:
    """A prompt on one short line: a text, or the last message's."""
    content = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    line = " ".join(content.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def plain(prompt: Prompt) -> str:
    """A prompt as one text."""
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


def prompt_ids(prompt: Prompt, tokenizer: Tokenizer) -> list[int]:
    """What the model reads before it answers."""
    from yanmo.text.chat import render

    return [tokenizer.bos_id, *tokenizer.encode(prompt)] if isinstance(prompt, str) else render(prompt, tokenizer)


def answer_ids(prompt: Prompt, answer: str, tokenizer: Tokenizer) -> list[int]:
    """What the model writes, with the token that ends it."""
    turns = [token for token in tokenizer.ends if token != tokenizer.eos_id]
    end = tokenizer.eos_id if isinstance(prompt, str) or not turns else turns[0]
    return [*tokenizer.encode(answer), end]


def _there(record: Record, field: str) -> Any:
    if field not in record.values:
        raise DataError(record.where, None, text("field '{field}' is missing", field=field),
                        nearest(field, [str(name) for name in record.values]))  # fmt: skip
    return record.values[field]


def _text(record: Record, field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _bad(record, field, text("a text or a list of messages"), describe(value))
    if not value.strip():
        raise _bad(record, field, text("some text"), text("an empty one"))
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _bad(record, field, text("Unicode text"), text("half of a surrogate pair"))
    return value


def _bad(record: Record, field: str, expected: Text, given: str | Text) -> DataError:
    return DataError(record.where, None, text("field '{field}' expected {expected}, got {given}", field=field,
                                              expected=expected, given=given))  # fmt: skip
