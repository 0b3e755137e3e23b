"""Conversations: the assistant's turns are to be written, each in sight of all that was said before it.

    train.jsonl   {"messages": [{"role": "system", …}, {"role": "user", …}, {"role": "assistant", …}, …], "tools": […]}
                  or ShareGPT's, Alpaca's and ChatterBot's forms (`readers/conversations.py`)

A row is a whole conversation in the model's own chat template; `trained` are the assistant's turns with the marks that end
them. A conversation longer than the model is cut between exchanges into several rows, each with the system's message; an
exchange that is longer itself loses the beginning of what is asked and the end of the answer.

Evaluated, the last answer of each conversation is written anew and held against the one that is there. A turn behind it that
nobody answers is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from yanmo.core.config import Settings, describe
from yanmo.core.data import Example, Row, content_id
from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.tasks.readers.conversations import ENDINGS, Messages, conversations, messages_of
from yanmo.tasks.records import Record
from yanmo.tasks.writing import WritingTask

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class Fields(Settings):
    """What the columns beside the conversation are called in the files."""

    tools: str = "tools"
    group: str = "language"  # results are also given for each of its values, where the rows have it


class Chat(WritingTask):
    """Conversations of several turns, of which the assistant's are learned."""

    of_texts: ClassVar[bool] = False
    metric: ClassVar[str] = "chrf"

    endings: ClassVar[tuple[str, ...]] = ENDINGS

    type: str = "chat"
    fields: Fields = Fields()
    template: Literal["{text}"] = "{text}"  # a conversation has the model's own
    chat: Literal[True] = True
    cut: Literal["beginning"] = "beginning"  # what was said last is answered
    max_tokens: int = Field(64, ge=1)

    # ------------------------------------------------------------------------------------------------ reading

    def rows(self, file: Path) -> Iterator[Callable[[], Example]]:
        return (partial(self.example, record) for record in conversations(file))

    def example(self, record: Record) -> Example:
        """`messages` up to the last answer, which is `answer`; `text` what stands before it, in plain; `unanswered`: how many
        turns behind it were left out."""
        messages = messages_of(record)
        last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
        prompt, answer = messages[:last], messages[last]["content"]
        kept: dict[str, Any] = {"text": "\n".join(message["content"] for message in prompt), "answer": answer,
                                "messages": messages[: last + 1], "unanswered": len(messages) - last - 1}  # fmt: skip
        tools = record.values.get(self.fields.tools)
        if tools:
            if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
                raise DataError(record.where, None, text("field '{field}' expected {expected}, got {given}",
                                field=self.fields.tools, expected=text("a list of tools"), given=describe(tools)))  # fmt: skip
            kept["tools"] = tools
        if isinstance(group := record.values.get(self.fields.group), str) and group:
            kept["group"] = f"{self.fields.group}={group}"
        said = json.dumps([kept["messages"], kept.get("tools")], ensure_ascii=False, sort_keys=True)
        return Example(content_id(said), kept, record.where)

    def check(self) -> list[Text]:
        found = super().check()
        open_ends = [e for split in ("train", "validation", "test") for e in self.load(split) if e.fields["unanswered"]]
        if open_ends:
            found.append(text("{count} conversations end with a turn that nobody answers, which is left out (first: {where})",
                              count=len(open_ends), where=open_ends[0].where))  # fmt: skip
        return found

    # ------------------------------------------------------------------------------------------------ model side

    def prompt(self, example: Example) -> Messages:
        return example.fields["messages"][:-1]

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """The conversation as rows of at most `length` tokens; none where nothing of an answer is left."""
        from yanmo.text.chat import answered

        tools = example.fields.get("tools")
        ids, own = answered(example.fields["messages"], tokenizer, tools)
        if len(ids) <= length:
            made = [(ids, own)]
        else:
            made = [self._fitted(*answered(window, tokenizer, tools), length)
                    for window in self._windows(example.fields["messages"], tokenizer, tools, length)]  # fmt: skip
        return [Row(tokens, trained, example=example.id) for tokens, trained in made if any(trained[1:])]

    def _windows(self, messages: Messages, tokenizer: Tokenizer, tools: Any, length: int) -> Iterator[Messages]:
        """Runs of exchanges, the system's message before each, that fit; an exchange that does not, alone."""
        from yanmo.text.chat import render

        first = 1 if messages[0]["role"] == "system" else 0
        begins = [index for index in range(first, len(messages)) if messages[index]["role"] == "user"]
        exchanges = [messages[start:end] for start, end in zip(begins, [*begins[1:], len(messages)])]
        held: Messages = []
        for exchange in exchanges:
            longer = [*(held or messages[:first]), *exchange]
            if held and len(render(longer, tokenizer, False, tools)) > length:
                yield held
                longer = [*messages[:first], *exchange]
            held = longer
        yield held

    def _fitted(self, ids: list[int], own: list[bool], length: int) -> tuple[list[int], list[bool]]:
        """A row cut to `length`: before its first answer to what prompts may take, then at its end."""
        begin = own.index(True) if True in own else len(own)
        away = max(begin - self.room(length), 0) if len(ids) > length else 0
        ids, own = ([*part[:1], *part[1 + away :]] for part in (ids, own))
        return ids[:length], own[:length]

    def prompt_ids(self, example: Example, tokenizer: Tokenizer, room: int, source: bool = False) -> tuple[list[int], int]:
        """What stands before the last answer, at most `room` tokens: without its first exchanges, then without its beginning;
        and how many tokens that cut off."""
        from yanmo.text.chat import render

        messages, tools = self.prompt(example), example.fields.get("tools")
        ids = render(messages, tokenizer, True, tools)
        whole = len(ids)
        first = 1 if messages[0]["role"] == "system" else 0
        for start in (index for index in range(first + 1, len(messages)) if messages[index]["role"] == "user"):
            if len(ids) <= room:
                break
            ids = render([*messages[:first], *messages[start:]], tokenizer, True, tools)
        if len(ids) > room:
            ids = [ids[0], *ids[len(ids) - room + 1 :]]
        return ids, whole - len(ids)

    @property
    def measured(self) -> str:
        return "chat"
