"""The one renderer of conversations, used by training, evaluation, the server and export.

A conversation is a list of `{"role": …, "content": …}`; the tokenizer's chat template (Jinja2, sandboxed, with the
settings and names that `transformers` gives its templates) turns it into text, and the special tokens in that text into
control ids. What a person wrote never becomes control: before rendering, each name of a special token inside a content is
broken by a character that occurs nowhere else, and mended after the template's own special tokens have been found.
For contents without such names the ids are those of `transformers`' `apply_chat_template`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from yanmo.core.errors import DataError, RequestError, nearest
from yanmo.core.messages import text

if TYPE_CHECKING:
    from jinja2 import Template

    from yanmo.text.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")

# ChatML, begun by the border with which every document begins: a conversation is a document.
CHATML = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Message = dict[str, Any]


def render(messages: list[Message], tokenizer: Tokenizer, generate: bool = True) -> list[int]:
    """The ids of a conversation, its leading border included; with `generate`, up to where the assistant's answer begins.

    A content is a string, or a list of `{"type": "text", "text": …}` parts. RequestError names the message that is wrong;
    DataError says that the tokenizer has no template or a broken one.
    """
    source = tokenizer.chat_template
    if not source:
        raise DataError("chat_template", text("a tokenizer with a chat template"), text("none"))
    checked = validate(messages)
    names = sorted(tokenizer.special, key=lambda name: (-len(name), name))
    wedge = _unused_character(source, checked)
    begins = re.compile("|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names))
    guarded = [{**m, "content": begins.sub(lambda found: found[0] + wedge, m["content"])} for m in checked]
    rendered = _rendered(source, guarded, tokenizer, generate)
    ids: list[int] = []
    for piece in re.split("(" + "|".join(map(re.escape, names)) + ")", rendered):
        if piece in tokenizer.special:
            ids.append(tokenizer.special[piece])
        elif piece:
            ids += tokenizer.encode(piece.replace(wedge, ""))
    return ids


def validate(messages: Any) -> list[dict[str, str]]:
    """The messages as role and plain content; RequestError with the place of the first mistake."""
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages", text("a list of at least one message"), repr(messages)[:80])
    checked = []
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if not isinstance(message, dict):
            raise RequestError(place, text("a mapping with 'role' and 'content'"), repr(message)[:80])
        role = message.get("role")
        if role not in ROLES:
            raise RequestError(f"{place}.role", text("one of {choices}", choices=", ".join(map(repr, ROLES))),
                               repr(role)[:80], nearest(role, ROLES) if isinstance(role, str) else None)  # fmt: skip
        checked.append({"role": role, "content": _plain(message.get("content"), f"{place}.content")})
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


def _unused_character(source: str, messages: list[dict[str, str]]) -> str:
    """A character of the private-use plane that neither the template nor any content has."""
    used = set(source).union(*(message["content"] for message in messages))
    return next(chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in used)


def _rendered(source: str, messages: list[dict[str, str]], tokenizer: Tokenizer, generate: bool) -> str:
    from yanmo.text.bounded import Unbounded, bounded

    try:
        return bounded(lambda: _template(source).render(
            messages=messages, add_generation_prompt=generate, tools=None, documents=None, bos_token=tokenizer.eos,
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
