"""The one renderer of conversations, used by training, evaluation, the server and export.

A conversation is a list of `{"role": …, "content": …}`; the tokenizer's chat template (Jinja2, sandboxed, with the
settings and names that `transformers` gives its templates) turns it into text, and the special tokens in that text into
control ids. What a person wrote never becomes control: before rendering, each name of a special token inside a content is
broken by a character that occurs nowhere else, and mended after the template's own special tokens have been found.
For contents without such names the ids are those of `transformers`' `apply_chat_template`.

An assistant that calls tools has `tool_calls` in its message, a tool's answer the role 'tool'; they and the `tools` that there
are reach the template as they are, with the names of special tokens in them broken and mended alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, NoReturn

from yanmo.core.errors import DataError, RequestError, nearest
from yanmo.core.messages import text

if TYPE_CHECKING:
    from jinja2 import Template

    from yanmo.text.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")
BESIDE = ("tool_calls", "tool_call_id", "name")  # what else a message has, where tools are called

# ChatML, begun by the border with which every document begins: a conversation is a document.
CHATML = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Message = dict[str, Any]


def render(messages: list[Message], tokenizer: Tokenizer, generate: bool = True, tools: list[Any] | None = None) -> list[int]:
    """The ids of a conversation, its leading border included; with `generate`, up to where the assistant's answer begins.

    A content is a string, or a list of `{"type": "text", "text": …}` parts. RequestError names the message that is wrong;
    DataError says that the tokenizer has no template or a broken one.
    """
    talk = _Talk(messages, tokenizer, tools)
    return talk.ids(talk.written(len(talk.messages), generate))


def answered(messages: list[Message], tokenizer: Tokenizer, tools: list[Any] | None = None) -> tuple[list[int], list[bool]]:
    """The ids of a whole conversation, and which of them the assistant has to write: from where its answer begins (`render(…,
    generate=True)` of what stands before it) to the mark that ends its turn.

    Where an answer begins a token begins, as when it is written; else the ids are those of `render(…, generate=False)`.
    DataError for a template without a generation prompt, or one that writes what stands before an answer otherwise than where
    the answer is still to come.
    """
    talk = _Talk(messages, tokenizer, tools)
    whole = talk.written(len(talk.messages), False)
    own = bytearray(len(whole))
    for index, message in enumerate(talk.messages):
        if message["role"] != "assistant" or index == 0:
            continue
        before = talk.written(index, True)
        if before == talk.written(index, False):
            raise DataError("chat_template", text("a template with a generation prompt"), text("one without"),
                            text("it must end with the assistant's header where 'add_generation_prompt' is true"))  # fmt: skip
        if not whole.startswith(before):
            wanted = text("a template that begins a conversation as it begins what stands before an answer")
            raise DataError("chat_template", wanted, text("another beginning of messages[0:{count}]", count=index))
        end = talk.ends.search(whole, len(before))
        last = end.end() if end else len(talk.written(index + 1, False))
        own[len(before) : last] = b"\1" * (last - len(before))
    return talk.marked(whole, own)


class _Talk:
    """A conversation on its way through the template: special tokens' names inside of it are broken by `wedge`."""

    def __init__(self, messages: Any, tokenizer: Tokenizer, tools: list[Any] | None):
        source = tokenizer.chat_template
        if not source:
            raise DataError("chat_template", text("a tokenizer with a chat template"), text("none"))
        self.tokenizer, self.source = tokenizer, source
        checked = validate(messages)
        self.names = sorted(tokenizer.special, key=lambda name: (-len(name), name))
        self.wedge = _unused_character(source, [*_strings(checked), *_strings(tools)])
        begins = re.compile("|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in self.names))
        self.messages = _mapped(checked, lambda content: begins.sub(lambda found: found[0] + self.wedge, content))
        self.tools = _mapped(tools, lambda content: begins.sub(lambda found: found[0] + self.wedge, content))

    def written(self, count: int, generate: bool) -> str:
        """The first `count` messages as the template writes them."""
        return _rendered(self.source, self.messages[:count], self.tokenizer, generate, self.tools)

    def ids(self, rendered: str) -> list[int]:
        made: list[int] = []
        for piece in self.pieces(rendered):
            if piece in self.tokenizer.special:
                made.append(self.tokenizer.special[piece])
            elif piece:
                made += self.tokenizer.encode(piece.replace(self.wedge, ""))
        return made

    def pieces(self, rendered: str) -> list[str]:
        """Special tokens' names, and what stands between them."""
        return re.split("(" + "|".join(map(re.escape, self.names)) + ")", rendered)

    def marked(self, rendered: str, own: bytearray) -> tuple[list[int], list[bool]]:
        """The ids, and which of them stand for characters that are marked in `own`; none stands for both kinds."""
        made: list[int] = []
        flags: list[bool] = []
        at = 0
        for piece in self.pieces(rendered):
            places = range(at, at + len(piece))
            at += len(piece)
            if piece in self.tokenizer.special:
                runs = [(bool(own[places[0]]), [self.tokenizer.special[piece]])]
            else:
                kept = [place for place in places if rendered[place] != self.wedge]
                runs = [(bool(flag), self.tokenizer.encode("".join(rendered[place] for place in run)))
                        for flag, run in groupby(kept, own.__getitem__)]  # fmt: skip
            for flag, ids in runs:
                made += ids
                flags += [flag] * len(ids)
        return made, flags

    @property
    def ends(self) -> re.Pattern[str]:
        """The marks that end a turn."""
        marks = [name for name, token in self.tokenizer.special.items() if token in self.tokenizer.ends]
        return re.compile("|".join(map(re.escape, marks)) or "(?!)")


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inside for found in _strings(item)]


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Plain data with each string in it changed; a mapping's keys and a message's role stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: item if key == "role" else _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value


def validate(messages: Any) -> list[dict[str, Any]]:
    """The messages as role and plain content, with what calls of tools have beside; RequestError with the place of the first
    mistake."""
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages", text("a list of at least one message"), repr(messages)[:80])
    checked: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if not isinstance(message, dict):
            raise RequestError(place, text("a mapping with 'role' and 'content'"), repr(message)[:80])
        role = message.get("role")
        if role not in ROLES:
            raise RequestError(f"{place}.role", text("one of {choices}", choices=", ".join(map(repr, ROLES))),
                               repr(role)[:80], nearest(role, ROLES) if isinstance(role, str) else None)  # fmt: skip
        calls = message.get("tool_calls")
        sound = isinstance(calls, list) and all(isinstance(call, dict) for call in calls)
        if calls is not None and (role != "assistant" or not sound):
            raise RequestError(f"{place}.tool_calls", text("a list of calls, in the assistant's message"), repr(calls)[:80])
        content = "" if calls and message.get("content") is None else message.get("content")
        beside = {name: message[name] for name in BESIDE if message.get(name)}
        checked.append({"role": role, "content": _plain(content, f"{place}.content"), **beside})
    return checked


def _plain(content: Any, place: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        for index, part in enumerate(content):
            if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
                raise RequestError(f"{place}[{index}]", text("a part {{'type': 'text', 'text': …}}"), repr(part)[:80])
        return "".join(part["text"] for part in content)
    raise RequestError(place, text("a string or a list of text parts"), repr(content)[:80])


def _unused_character(source: str, contents: list[str]) -> str:
    """A character of the private-use plane that neither the template nor any content has."""
    used = set(source).union(*contents)
    return next(chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in used)


def _rendered(source: str, messages: list[dict[str, Any]], tokenizer: Tokenizer, generate: bool,
              tools: list[Any] | None = None) -> str:  # fmt: skip
    from yanmo.text.bounded import Unbounded, bounded

    try:
        return bounded(lambda: _template(source).render(
            messages=messages, add_generation_prompt=generate, tools=tools or None, documents=None, bos_token=tokenizer.eos,
            eos_token=tokenizer.eos, pad_token=tokenizer.pad))  # fmt: skip
    except _Refused as error:  # the template's own objection: the conversation is not one that it knows
        raise RequestError("messages", text("a conversation that the chat template takes"), str(error)) from None
    except Unbounded as error:
        raise DataError("chat_template", text("a template that comes to an end"), str(error)) from None
    except Exception as error:  # whatever a stranger's program does
        raise DataError("chat_template", text("a template that renders"), f"{type(error).__name__}: {error}"[:300]) from None


class _Refused(Exception):
    pass


@lru_cache(maxsize=16)
def _template(source: str) -> Template:
    import json

    from yanmo.text.bounded import Environment

    def refuse(reason: str) -> NoReturn:
        raise _Refused(reason)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    environment = Environment()
    environment.add_filter("tojson", tojson)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(source)
